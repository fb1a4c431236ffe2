/* The trust record (docs/spec/trust.md): who may sign what. */
#ifndef AF_TRUST_H
#define AF_TRUST_H

#include "af_cose.h"

enum {
    AF_TRUST_MAX = 3840,
    AF_ROLE_KEYS_MAX = 8,
    /* The smallest key takes 46 bytes of a record. */
    AF_KEYS_MAX = AF_TRUST_MAX / 46,
    AF_REVOKED_MAX = 64,
    AF_PRODUCT_MAX = 64
};

#define AF_TRUST_TYPE "application/vnd.ampforge.trust+cbor"

/* In the order in which their names stand in a record: shorter names first, then by bytes. */
typedef enum {
    AF_ROOT,
    AF_POLICY,
    AF_RELEASE,
    AF_STATION,
    AF_CAMPAIGN,
    AF_SNAPSHOT,
    AF_FRESHNESS,
    AF_TIMESTAMP,
    AF_FACTORY_CA,
    AF_SUPERVISOR,
    AF_SECURE_BOOT,
    AF_ROLE_COUNT
} af_role;

typedef struct {
    af_bytes der;
    uint8_t id[AF_DIGEST_BYTES];
    uint8_t algorithm; /* af_algorithm */
    uint8_t role;      /* af_role */
    bool is_revoked;
} af_key_entry;

/* A record that was read. It points into the caller's bytes, which have to stay as they are. */
typedef struct {
    af_bytes product;
    uint32_t version;
    uint32_t minimum_policy_version;
    uint8_t threshold[AF_ROLE_COUNT]; /* 0: nobody holds the role */
    size_t key_count;
    af_key_entry keys[AF_KEYS_MAX];
    size_t revoked_count;
    af_bytes revoked; /* key ids, each with its two bytes of CBOR head before it */
    af_bytes factory_ca; /* a DER certificate, not looked into; empty if there is none */
} af_trust;

/* The role of a name; AF_ROLE_COUNT when it is none. */
af_role af_role_named(af_bytes name);

/* Reads a record that was accepted before, as from the device's own flash: shape and rules of
 * sections 2 and 3, and that its own root keys signed it (section 4, first paragraph). */
af_code af_trust_read(af_trust *record, af_bytes message);

/* Reads `message` into `next` and judges whether it may replace `current` (section 4). `next` is of
 * no use unless this is AF_OK. */
af_code af_trust_accept(af_trust *next, const af_trust *current, af_bytes message);

/* Verifies a message by role (section 5): what its payload is, or why it is refused. */
af_code af_trust_verify(af_bytes *payload, const af_trust *record, af_role role, af_bytes message, size_t most_bytes,
                        const char *content_type, af_bytes external);

#endif
