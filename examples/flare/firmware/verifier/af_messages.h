/* The payloads of manifest, assignment and freshness (docs/spec/manifest.md, assignment.md and
 * freshness.md), verified by role before they are parsed. Values point into the caller's message. */
#ifndef AF_MESSAGES_H
#define AF_MESSAGES_H

#include "af_trust.h"

enum {
    AF_MESSAGE_MAX = 1024,
    AF_DELTAS_MAX = 3,
    AF_PINNED_MAX = 24,
    AF_STEPS_MAX = 8,
    AF_SALT_BYTES = 16,
    AF_NONCE_BYTES = 16,
    AF_REQUEST_MAX = 64
};

typedef struct {
    uint32_t base_bytes;
    uint32_t patch_bytes;
    uint8_t base_digest[AF_DIGEST_BYTES];
    uint8_t patch_digest[AF_DIGEST_BYTES];
    uint8_t compression;    /* 0 none, 4 heatshrink */
    uint8_t window_bits;    /* 0 without compression */
    uint8_t lookahead_bits; /* 0 without compression */
} af_delta;

typedef struct {
    af_bytes version;
    af_bytes hardware_class;
    uint32_t release_counter;
    uint32_t lowest_revision;
    uint32_t highest_revision;
    uint32_t app_bytes;
    uint8_t app_digest[AF_DIGEST_BYTES];
    uint32_t secure_version;
    uint32_t slot_bytes;
    uint8_t slot_digest[AF_DIGEST_BYTES];
    uint8_t table_digest[AF_DIGEST_BYTES];
    uint32_t policy_version;
    uint32_t highest_current_na;
    uint64_t issued_s;
    uint64_t expires_s;
    uint32_t lowest_counter; /* that a device must have; 0 for any */
    uint64_t support_ends_s; /* 0 if the release states no end */
    size_t delta_count;
    af_delta deltas[AF_DELTAS_MAX];
    uint8_t digest[AF_DIGEST_BYTES]; /* of the signed message: its name */
} af_manifest;

typedef struct {
    af_bytes hardware_class;
    uint32_t sequence;
    uint8_t manifest_digest[AF_DIGEST_BYTES];
    uint8_t salt[AF_SALT_BYTES];
    uint32_t share_ppm;
    size_t pinned_count;
    af_bytes pinned[AF_PINNED_MAX];
    bool is_halted;
    uint64_t issued_s;
    uint64_t expires_s;
    size_t step_count;            /* 0 unless the assignment has format 2 */
    af_bytes steps[AF_STEPS_MAX]; /* digests of manifests that lead to the one assigned, rising counter */
} af_assignment;

typedef struct {
    uint8_t nonce[AF_NONCE_BYTES];
    uint32_t sequence;
    uint64_t time_s;
    af_bytes hardware_class;
    uint32_t assignment_sequence;
} af_freshness;

/* Each verifies (manifest.md 4) and gives the fields, or says why the message is refused. */
af_code af_manifest_read(af_manifest *manifest, const af_trust *trust, af_bytes message);
af_code af_assignment_read(af_assignment *assignment, const af_trust *trust, af_bytes message);
af_code af_freshness_read(af_freshness *freshness, const af_trust *trust, af_bytes message);

/* The body of a freshness request (freshness.md 1); its length, 0 if the class is not 1 to 32 bytes. */
size_t af_freshness_request(uint8_t request[AF_REQUEST_MAX], const uint8_t nonce[AF_NONCE_BYTES],
                            af_bytes hardware_class);

/* Whether a device is selected by its serial number (assignment.md 3): AF_OK, AF_HALTED,
 * AF_NOT_SELECTED, or AF_NO_MEMORY. */
af_code af_assignment_selects(const af_assignment *assignment, af_bytes serial_number);

#endif
