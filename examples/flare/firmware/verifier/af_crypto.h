/* Digests, public keys and signatures (docs/spec/cose.md 3): the only file that calls mbedTLS.
 *
 * What a build verifies beyond P-256 is chosen with AF_WITH_EDDSA, AF_WITH_ES384 and AF_WITH_PS256.
 * A board needs the first; the others only where field 8 of its trust record says so. */
#ifndef AF_CRYPTO_H
#define AF_CRYPTO_H

#include "af_cbor.h"
#include "af_codes.h"

#ifndef AF_WITH_EDDSA
#define AF_WITH_EDDSA 1
#endif
#ifndef AF_WITH_ES384
#define AF_WITH_ES384 0
#endif
#ifndef AF_WITH_PS256
#define AF_WITH_PS256 0
#endif

enum { AF_DIGEST_BYTES = 32, AF_KID_BYTES = 8, AF_PIECES_MAX = 12 };

typedef enum { AF_ES256, AF_EDDSA, AF_ES384, AF_PS256, AF_NO_ALGORITHM } af_algorithm;

/* Bytes that are hashed one after the other as if they were one message. */
typedef struct {
    af_bytes piece[AF_PIECES_MAX];
    size_t count;
} af_pieces;

/* SHA-256; false when the library failed (a hardware engine can). */
bool af_sha256(const af_pieces *pieces, uint8_t digest[AF_DIGEST_BYTES]);
bool af_sha256_of(af_bytes bytes, uint8_t digest[AF_DIGEST_BYTES]);

#if AF_WITH_EDDSA || AF_WITH_ES384
/* SHA-512, or SHA-384 in the first 48 bytes. */
bool af_sha512(const af_pieces *pieces, bool is_384, uint8_t digest[64]);
#endif

/* Of which algorithm a DER SubjectPublicKeyInfo is, by its one allowed encoding; AF_NO_ALGORITHM if
 * it is none of the four, or an elliptic point that is not on its curve. */
af_algorithm af_key_algorithm(af_bytes der);

/* How long a signature of an algorithm is, in bytes. */
size_t af_signature_bytes(af_algorithm algorithm);

/* Whether this build verifies the algorithm. */
bool af_is_built(af_algorithm algorithm);

/* AF_OK, AF_SIGNATURE, AF_ALGORITHM_NOT_BUILT or AF_NO_MEMORY. The signature has its length. */
af_code af_verify_signature(af_algorithm algorithm, af_bytes der, const af_pieces *message, af_bytes signature);

#endif
