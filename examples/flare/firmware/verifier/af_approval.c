#include "af_approval.h"

#include <string.h>

#define APPROVAL_TYPE "application/vnd.ampforge.table-approval+cbor"

enum { PAYLOAD_MAX = 512, WAIVERS_MAX = 8 };

static const af_bytes nothing = {NULL, 0};
static const uint64_t last_time_s = 253402300799;

/* Keys 6 and 7: digests of waivers, strictly rising, and when the first of them expires. */
static void read_waivers(af_approval *approval, af_reader *reader)
{
    uint8_t digest[AF_DIGEST_BYTES];
    uint8_t last[AF_DIGEST_BYTES];
    af_key(reader, 6);
    size_t count = af_array(reader, 1, WAIVERS_MAX);
    for (size_t i = 0; i < count; i++) {
        af_copy_bytes(reader, digest, sizeof digest);
        if (i > 0 && memcmp(last, digest, sizeof digest) >= 0) {
            af_fail(reader);
        }
        memcpy(last, digest, sizeof last);
    }
    af_key(reader, 7);
    approval->waivers_expire_s = af_unsigned(reader, 1, last_time_s);
}

af_code af_approval_read(af_approval *approval, const af_trust *trust, af_bytes message)
{
    af_bytes payload;
    af_reader reader;
    memset(approval, 0, sizeof *approval);
    af_code code = af_trust_verify(&payload, trust, AF_POLICY, message, AF_APPROVAL_MAX, APPROVAL_TYPE, nothing);
    if (code != AF_OK) {
        return code;
    }
    af_open(&reader, payload);
    size_t fields = af_map(&reader, 5, 7);
    af_key(&reader, 1);
    uint64_t format = af_unsigned(&reader, 0, UINT64_MAX);
    if (!reader.failed && format != 1) {
        return AF_FORMAT_VERSION;
    }
    af_key(&reader, 2);
    af_copy_bytes(&reader, approval->table_digest, AF_DIGEST_BYTES);
    af_key(&reader, 3);
    af_copy_bytes(&reader, approval->policy_digest, AF_DIGEST_BYTES);
    af_key(&reader, 4);
    approval->policy_version = (uint32_t)af_unsigned(&reader, 1, UINT32_MAX);
    af_key(&reader, 5);
    approval->hardware_class = af_text(&reader, 1, 32);
    if (fields == 7) {
        read_waivers(approval, &reader);
    }
    return af_closed(&reader) && fields != 6 && payload.size <= PAYLOAD_MAX ? AF_OK : AF_FIELDS;
}

af_code af_table_accept(af_table *table, af_approval *approval, const af_trust *trust, const af_slot *slot,
                        af_bytes hardware_class)
{
    uint8_t digest[AF_DIGEST_BYTES];
    af_code code = af_approval_read(approval, trust, slot->approval);
    if (code == AF_OK) {
        code = af_table_read(table, slot->table);
    }
    if (code != AF_OK) {
        return code;
    }
    if (!af_sha256_of(slot->table, digest)) {
        return AF_NO_MEMORY;
    }
    if (memcmp(digest, approval->table_digest, AF_DIGEST_BYTES) != 0 ||
        memcmp(table->policy_digest, approval->policy_digest, AF_DIGEST_BYTES) != 0 ||
        table->policy_version != approval->policy_version ||
        !af_equal(table->hardware_class, approval->hardware_class)) {
        return AF_APPROVAL_OTHER;
    }
    if (!af_equal(table->hardware_class, hardware_class)) {
        return AF_HARDWARE_CLASS;
    }
    return approval->policy_version >= trust->minimum_policy_version ? AF_OK : AF_POLICY_VERSION;
}

/* A number that has to be within its bounds and is of no use here. */
static void check_integer(af_reader *reader, uint8_t key, int64_t least, int64_t most)
{
    af_key(reader, key);
    (void)af_integer(reader, least, most);
}

af_code af_calibration_read(af_calibration *calibration, af_bytes payload)
{
    af_reader reader;
    uint8_t digest[AF_DIGEST_BYTES];
    memset(calibration, 0, sizeof *calibration);
    af_open(&reader, payload);
    (void)af_map(&reader, 19, 19);
    check_integer(&reader, 1, 1, 1);
    af_key(&reader, 2);
    calibration->serial_number = af_unicode(&reader, 1, 20);
    af_key(&reader, 3);
    af_copy_bytes(&reader, calibration->mac, sizeof calibration->mac);
    af_key(&reader, 4);
    (void)af_unicode(&reader, 1, 64);
    check_integer(&reader, 5, 1, (int64_t)UINT32_MAX - 1);
    check_integer(&reader, 6, 1000, 100000000);
    check_integer(&reader, 7, 8, 20);
    check_integer(&reader, 8, 500000, 2000000);
    check_integer(&reader, 9, -100000, 100000);
    check_integer(&reader, 10, 1, 1000000);
    check_integer(&reader, 11, 1, 1000000000);
    af_key(&reader, 12);
    calibration->lowest_na = (int32_t)af_integer(&reader, -100000000, 0);
    af_key(&reader, 13);
    calibration->highest_na = (int32_t)af_integer(&reader, 0, 100000000);
    af_key(&reader, 14);
    int64_t lowest_load_ohm = af_integer(&reader, 0, 1000000);
    check_integer(&reader, 15, lowest_load_ohm > 1 ? lowest_load_ohm : 1, 1000000);
    check_integer(&reader, 16, -4000, 12500);
    af_key(&reader, 17);
    (void)af_unicode(&reader, 1, 128);
    af_key(&reader, 18);
    af_copy_bytes(&reader, digest, sizeof digest);
    af_key(&reader, 19);
    (void)af_unsigned(&reader, 0, last_time_s);
    return af_closed(&reader) ? AF_OK : AF_CALIBRATION;
}
