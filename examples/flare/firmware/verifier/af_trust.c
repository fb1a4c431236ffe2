/* Taking a trust record, and replacing one: docs/spec/trust.md 4. */
#include "af_trust.h"

#include "af_trust_rules.h"

static const af_bytes nothing = {NULL, 0};

/* Reads the record and verifies it by its own root keys. */
static af_code read_whole(af_trust *record, af_cose *cose, af_bytes message)
{
    af_code code = af_cose_read(cose, message, AF_TRUST_MAX, AF_TRUST_TYPE);
    if (code == AF_OK && cose->is_sign1) {
        code = AF_SHAPE; /* section 3: COSE_Sign */
    }
    if (code == AF_OK) {
        code = af_trust_parse(record, cose->payload);
    }
    return code == AF_OK ? af_count_signers(record, AF_ROOT, cose, nothing) : code;
}

af_code af_trust_read(af_trust *record, af_bytes message)
{
    af_cose cose;
    return read_whole(record, &cose, message);
}

/* Step 5: a key that was revoked stays so. */
static bool keeps_revocations(const af_trust *next, const af_trust *current)
{
    for (size_t i = 0; i < current->revoked_count; i++) {
        if (!af_is_revoked(next, af_revoked_id(current, i))) {
            return false;
        }
    }
    return true;
}

af_code af_trust_accept(af_trust *next, const af_trust *current, af_bytes message)
{
    af_cose cose;
    af_code code = read_whole(next, &cose, message);
    if (code == AF_OK) {
        code = af_count_signers(current, AF_ROOT, &cose, nothing);
    }
    if (code != AF_OK) {
        return code;
    }
    if (!af_equal(next->product, current->product)) {
        return AF_PRODUCT;
    }
    if (next->version <= current->version) {
        return AF_RECORD_VERSION;
    }
    if (next->minimum_policy_version < current->minimum_policy_version) {
        return AF_RECORD_POLICY;
    }
    return keeps_revocations(next, current) ? AF_OK : AF_RECORD_REVOCATIONS;
}
