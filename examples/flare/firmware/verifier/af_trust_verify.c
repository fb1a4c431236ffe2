/* Counting the distinct keys of a role that signed a message: docs/spec/trust.md 5, cose.md 5.1. */
#include <string.h>

#include "af_trust_rules.h"

static bool is_revoked_kid(const af_trust *record, af_bytes kid)
{
    for (size_t i = 0; i < record->revoked_count; i++) {
        if (memcmp(af_revoked_id(record, i), kid.at, AF_KID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

/* AF_OK: a key of the role signed. AF_NO_KEY_OF_ROLE: the kid names none, so that the signature is
 * passed over. Several keys may have one kid: the one that verifies counts. */
static af_code judge_signature(const af_trust *record, af_role role, const af_cose *cose, size_t index,
                               af_bytes external)
{
    af_code answer = AF_NO_KEY_OF_ROLE;
    for (size_t i = 0; i < record->key_count; i++) {
        const af_key_entry *key = &record->keys[i];
        bool is_meant = key->role == (uint8_t)role && !key->is_revoked &&
                        memcmp(key->id, cose->signatures[index].kid.at, AF_KID_BYTES) == 0;
        if (!is_meant) {
            continue;
        }
        af_code code = af_cose_verify(cose, index, (af_algorithm)key->algorithm, key->der, external);
        if (code == AF_OK) {
            return AF_OK;
        }
        if (answer == AF_NO_KEY_OF_ROLE || answer == AF_ALGORITHM) {
            answer = code;
        }
    }
    return answer;
}

af_code af_count_signers(const af_trust *record, af_role role, const af_cose *cose, af_bytes external)
{
    size_t signers = 0;
    bool has_revoked = false;
    if (record->threshold[role] == 0) {
        return AF_ROLE_EMPTY;
    }
    if (cose->is_sign1 && record->threshold[role] > 1) { /* one signature can never be enough */
        return AF_TOO_FEW_KEYS;
    }
    for (size_t i = 0; i < cose->count; i++) {
        af_code code = judge_signature(record, role, cose, i, external);
        if (code == AF_OK) {
            signers++; /* kids rise, so each is another key */
        } else if (code == AF_NO_KEY_OF_ROLE) {
            has_revoked = has_revoked || is_revoked_kid(record, cose->signatures[i].kid);
        } else {
            return code;
        }
    }
    if (signers >= record->threshold[role]) {
        return AF_OK;
    }
    return has_revoked ? AF_REVOKED_KEY : signers == 0 ? AF_NO_KEY_OF_ROLE : AF_TOO_FEW_KEYS;
}

af_code af_trust_verify(af_bytes *payload, const af_trust *record, af_role role, af_bytes message, size_t most_bytes,
                        const char *content_type, af_bytes external)
{
    af_cose cose;
    af_code code = af_cose_read(&cose, message, most_bytes, content_type);
    if (code == AF_OK) {
        code = af_count_signers(record, role, &cose, external);
    }
    *payload = cose.payload;
    if (code != AF_OK) {
        payload->size = 0;
    }
    return code;
}
