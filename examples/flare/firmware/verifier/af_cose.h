/* COSE_Sign1 and COSE_Sign in the one shape of docs/spec/cose.md 4 and 5. */
#ifndef AF_COSE_H
#define AF_COSE_H

#include "af_crypto.h"

enum { AF_SIGNATURES_MAX = 16, AF_HEADER_MAX = 256 };

typedef struct {
    af_bytes header; /* a COSE_Sign signature's own protected header; empty in COSE_Sign1 */
    af_bytes kid;
    af_bytes signature;
    af_algorithm algorithm; /* AF_NO_ALGORITHM: a number that cose.md 3 does not name */
} af_cose_signature;

/* A message whose shape is right and of which nothing is verified yet. */
typedef struct {
    bool is_sign1;
    af_bytes header; /* the body's protected header */
    af_bytes payload;
    size_t count;
    af_cose_signature signatures[AF_SIGNATURES_MAX];
} af_cose;

/* Length, shape and content type: AF_OK, AF_LENGTH, AF_SHAPE, AF_SIGNED_TWICE or AF_CONTENT_TYPE. */
af_code af_cose_read(af_cose *cose, af_bytes message, size_t most_bytes, const char *content_type);

/* One signature by one key: AF_OK, AF_ALGORITHM, or what af_verify_signature answers. */
af_code af_cose_verify(const af_cose *cose, size_t index, af_algorithm key_algorithm, af_bytes key_der,
                       af_bytes external);

#endif
