/* Reading a trust record strictly: docs/spec/trust.md 2 and 3. This payload is parsed before its
 * signatures are verified (section 4), so every count is bounded by an array and by the bytes left. */
#include <string.h>

#include "af_trust_rules.h"

enum { FIELD_ES384 = 1 << AF_ES384, FIELD_PS256 = 1 << AF_PS256, ALWAYS = 1 << AF_ES256 | 1 << AF_EDDSA };

static const char *const role_names[AF_ROLE_COUNT] = {
    "root",      "policy",    "release",    "station",    "campaign",   "snapshot",
    "freshness", "timestamp", "factory-ca", "supervisor", "secure-boot"};

/* What a signature takes in a message with all its headers (cose.md 5), by algorithm. */
static const uint16_t room_of[] = {82, 82, 115, 404};

af_role af_role_named(af_bytes name)
{
    size_t role = 0;
    while (role < AF_ROLE_COUNT && !af_is_text(name, role_names[role])) {
        role++;
    }
    return (af_role)role;
}

bool af_is_revoked(const af_trust *record, const uint8_t id[AF_DIGEST_BYTES])
{
    for (size_t i = 0; i < record->revoked_count; i++) {
        if (memcmp(af_revoked_id(record, i), id, AF_DIGEST_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

/* A role's keys, ascending by id; each is in its one encoding and held by this role alone. */
static af_code read_keys(af_trust *record, af_reader *reader, af_role role, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        af_bytes der = af_byte_string(reader, 1, 512);
        if (reader->failed || record->key_count == AF_KEYS_MAX) {
            return AF_FIELDS;
        }
        af_key_entry *key = &record->keys[record->key_count];
        af_algorithm algorithm = af_key_algorithm(der);
        if (algorithm == AF_NO_ALGORITHM) {
            return AF_RECORD_KEYS;
        }
        key->der = der;
        key->role = (uint8_t)role;
        key->algorithm = (uint8_t)algorithm;
        if (!af_sha256_of(der, key->id)) {
            return AF_NO_MEMORY;
        }
        if (i > 0 && memcmp(record->keys[record->key_count - 1].id, key->id, AF_DIGEST_BYTES) >= 0) {
            return AF_RECORD_KEYS;
        }
        for (size_t j = 0; j < record->key_count; j++) { /* by kid: so one kid names one key */
            if (memcmp(record->keys[j].id, key->id, AF_KID_BYTES) == 0) {
                return AF_RECORD_KEYS;
            }
        }
        record->key_count++;
    }
    return AF_OK;
}

static af_code read_roles(af_trust *record, af_reader *reader)
{
    size_t roles = af_map(reader, 1, AF_ROLE_COUNT);
    af_role last = AF_ROLE_COUNT;
    for (size_t i = 0; i < roles; i++) {
        af_role role = af_role_named(af_text(reader, 1, 16));
        (void)af_array(reader, 2, 2);
        uint64_t threshold = af_unsigned(reader, 1, AF_ROLE_KEYS_MAX);
        size_t count = af_array(reader, 1, AF_ROLE_KEYS_MAX);
        if (reader->failed || role == AF_ROLE_COUNT || (i > 0 && role <= last) || threshold > count) {
            return role == AF_ROLE_COUNT || threshold > count ? AF_RECORD_ROLES : AF_FIELDS;
        }
        record->threshold[role] = (uint8_t)threshold;
        af_code code = read_keys(record, reader, role, count);
        if (code != AF_OK) {
            return code;
        }
        last = role;
    }
    return record->threshold[AF_ROOT] != 0 ? AF_OK : AF_RECORD_ROLES;
}

static bool read_revoked(af_trust *record, af_reader *reader)
{
    record->revoked_count = af_array(reader, 0, AF_REVOKED_MAX);
    record->revoked.at = reader->at;
    for (size_t i = 0; i < record->revoked_count; i++) {
        (void)af_byte_string(reader, AF_DIGEST_BYTES, AF_DIGEST_BYTES);
        if (reader->failed) {
            record->revoked_count = 0;
            return false;
        }
        if (i > 0 && memcmp(af_revoked_id(record, i - 1), af_revoked_id(record, i), AF_DIGEST_BYTES) >= 0) {
            return false;
        }
    }
    record->revoked.size = record->revoked_count * (AF_DIGEST_BYTES + 2);
    return true;
}

/* Field 8: a set of -35 and -37, as bits; 0 with a failed reader if it is none. */
static unsigned read_algorithms(af_reader *reader)
{
    unsigned set = 0;
    size_t count = af_array(reader, 1, 2);
    for (size_t i = 0; i < count; i++) {
        int64_t number = af_integer(reader, -37, -35);
        unsigned bit = number == -35 ? (unsigned)FIELD_ES384 : (unsigned)FIELD_PS256;
        if ((number != -35 && number != -37) || bit <= set) {
            af_fail(reader);
        }
        set |= bit;
    }
    return reader->failed ? 0 : set;
}

static unsigned allowed_for(af_role role, unsigned field_8)
{
    switch (role) {
    case AF_ROOT:
    case AF_POLICY:
    case AF_RELEASE:
    case AF_CAMPAIGN:
    case AF_FRESHNESS:
    case AF_SUPERVISOR: return (unsigned)ALWAYS | field_8;
    case AF_STATION:
    case AF_FACTORY_CA: return ALWAYS;
    case AF_SECURE_BOOT: return 1U << AF_ES256 | 1U << AF_ES384 | 1U << AF_PS256;
    case AF_SNAPSHOT:
    case AF_TIMESTAMP:
    case AF_ROLE_COUNT: break;
    }
    return (unsigned)ALWAYS | 1U << AF_ES384 | 1U << AF_PS256;
}

/* The bytes of the longest signatures that a threshold of a role's keys can make. */
static unsigned room_for(const af_trust *record, af_role role)
{
    unsigned room = 0;
    size_t open = record->threshold[role];
    for (size_t algorithm = AF_NO_ALGORITHM; algorithm-- > 0;) { /* longest first */
        for (size_t i = 0; i < record->key_count && open > 0; i++) {
            if (record->keys[i].role == (uint8_t)role && record->keys[i].algorithm == algorithm) {
                room += room_of[algorithm];
                open--;
            }
        }
    }
    return room;
}

static af_code judge_rules(af_trust *record, unsigned field_8)
{
    size_t usable[AF_ROLE_COUNT] = {0};
    for (size_t i = 0; i < record->key_count; i++) {
        af_key_entry *key = &record->keys[i];
        key->is_revoked = af_is_revoked(record, key->id);
        if ((allowed_for((af_role)key->role, field_8) >> key->algorithm & 1U) == 0) {
            return AF_RECORD_ALGORITHMS;
        }
        if (!key->is_revoked) {
            usable[key->role]++;
        }
    }
    for (size_t role = 0; role < AF_ROLE_COUNT; role++) {
        size_t spare = role == AF_ROOT ? 1 : 0;
        if (usable[role] < record->threshold[role] + spare) {
            return AF_RECORD_ROLES;
        }
    }
    bool has_room = room_for(record, AF_RELEASE) <= 512 && room_for(record, AF_FRESHNESS) <= 512 &&
                    room_for(record, AF_CAMPAIGN) <= 128;
    return has_room ? AF_OK : AF_RECORD_ALGORITHMS;
}

af_code af_trust_parse(af_trust *record, af_bytes payload)
{
    af_reader reader;
    unsigned field_8 = 0;
    memset(record, 0, sizeof *record);
    af_open(&reader, payload);
    size_t fields = af_map(&reader, 7, 8);
    af_key(&reader, 1);
    uint64_t format = af_unsigned(&reader, 0, UINT64_MAX);
    if (reader.failed || format != 1) {
        return reader.failed ? AF_FIELDS : AF_FORMAT_VERSION;
    }
    af_key(&reader, 2);
    record->product = af_text(&reader, 1, AF_PRODUCT_MAX);
    af_key(&reader, 3);
    record->version = (uint32_t)af_unsigned(&reader, 1, UINT32_MAX);
    af_key(&reader, 4);
    if (reader.failed) {
        return AF_FIELDS;
    }
    af_code code = read_roles(record, &reader);
    if (code != AF_OK) {
        return code;
    }
    af_key(&reader, 5);
    record->minimum_policy_version = (uint32_t)af_unsigned(&reader, 0, UINT32_MAX);
    af_key(&reader, 6);
    if (!read_revoked(record, &reader)) {
        return AF_FIELDS;
    }
    af_key(&reader, 7);
    record->factory_ca = af_byte_string(&reader, 0, AF_TRUST_MAX);
    if (fields == 8) {
        af_key(&reader, 8);
        field_8 = read_algorithms(&reader);
    }
    if (!af_closed(&reader)) {
        return AF_FIELDS;
    }
    bool is_built = ((field_8 & FIELD_ES384) == 0 || af_is_built(AF_ES384)) &&
                    ((field_8 & FIELD_PS256) == 0 || af_is_built(AF_PS256));
    return is_built ? judge_rules(record, field_8) : AF_ALGORITHM_NOT_BUILT;
}
