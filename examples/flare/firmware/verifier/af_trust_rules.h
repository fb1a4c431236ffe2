/* What the three files about trust share; not for firmware. */
#ifndef AF_TRUST_RULES_H
#define AF_TRUST_RULES_H

#include "af_trust.h"

/* The 32 bytes of a revoked key id. */
static inline const uint8_t *af_revoked_id(const af_trust *record, size_t index)
{
    return record->revoked.at + index * (AF_DIGEST_BYTES + 2) + 2;
}

/* Whether a key id is among the revoked ones. */
bool af_is_revoked(const af_trust *record, const uint8_t id[AF_DIGEST_BYTES]);

/* The payload of a record into its fields; nothing is verified yet. */
af_code af_trust_parse(af_trust *record, af_bytes payload);

/* Whether enough keys of a role signed: AF_OK, or a code of trust.md 5. */
af_code af_count_signers(const af_trust *record, af_role role, const af_cose *cose, af_bytes external);

#endif
