#include "af_messages.h"

#include <string.h>

static const af_bytes nothing = {NULL, 0};
static const uint64_t last_time_s = 253402300799;

enum { IMAGE_MAX = 16777216, SLOT_MAX = 65536, CURRENT_MAX_NA = 100000000 };

/* A message's own: who signs it, what it is, how many fields format 1 has and how many more format 2. */
typedef struct {
    af_role role;
    const char *content_type;
    size_t fields;
    size_t second_adds; /* 0 where there is no format 2 */
} af_kind;

static const af_kind manifest_kind = {AF_RELEASE, "application/vnd.ampforge.manifest+cbor", 13, 2};
static const af_kind assignment_kind = {AF_CAMPAIGN, "application/vnd.ampforge.assignment+cbor", 12, 1};
static const af_kind freshness_kind = {AF_FRESHNESS, "application/vnd.ampforge.freshness+cbor", 6, 0};

/* Verifies, then opens the payload behind its format version. */
static af_code open_payload(af_reader *reader, const af_trust *trust, const af_kind *kind, af_bytes message,
                            bool *is_second)
{
    af_bytes payload;
    af_code code =
        af_trust_verify(&payload, trust, kind->role, message, AF_MESSAGE_MAX, kind->content_type, nothing);
    if (code != AF_OK) {
        return code;
    }
    af_open(reader, payload);
    size_t count = af_map(reader, 1, SIZE_MAX);
    af_key(reader, 1);
    uint64_t version = af_unsigned(reader, 0, UINT32_MAX);
    *is_second = kind->second_adds != 0 && version == 2;
    if (!reader->failed && version != 1 && !*is_second) {
        return AF_FORMAT_VERSION;
    }
    return reader->failed || count != kind->fields + (*is_second ? kind->second_adds : 0) ? AF_FIELDS : AF_OK;
}

static uint32_t read_u32(af_reader *reader, uint8_t key, uint32_t least, uint32_t most)
{
    af_key(reader, key);
    return (uint32_t)af_unsigned(reader, least, most);
}

static uint64_t read_time(af_reader *reader, uint8_t key)
{
    af_key(reader, key);
    return af_unsigned(reader, 0, last_time_s);
}

static af_bytes read_text(af_reader *reader, uint8_t key, size_t most)
{
    af_key(reader, key);
    return af_text(reader, 1, most);
}

static void read_bytes(af_reader *reader, uint8_t key, uint8_t *to, size_t size)
{
    af_key(reader, key);
    af_copy_bytes(reader, to, size);
}

static void read_application(af_manifest *manifest, af_reader *reader)
{
    af_key(reader, 8);
    (void)af_map(reader, 4, 4);
    manifest->app_bytes = read_u32(reader, 1, 1, IMAGE_MAX);
    read_bytes(reader, 2, manifest->app_digest, AF_DIGEST_BYTES);
    af_key(reader, 3);
    size_t elf_digest_bytes = af_byte_string(reader, 0, AF_DIGEST_BYTES).size;
    if (elf_digest_bytes != 0 && elf_digest_bytes != AF_DIGEST_BYTES) {
        af_fail(reader);
    }
    manifest->secure_version = read_u32(reader, 4, 0, UINT32_MAX);
}

static void read_slot(af_manifest *manifest, af_reader *reader)
{
    af_key(reader, 9);
    (void)af_map(reader, 5, 5);
    manifest->slot_bytes = read_u32(reader, 1, 1, SLOT_MAX);
    read_bytes(reader, 2, manifest->slot_digest, AF_DIGEST_BYTES);
    read_bytes(reader, 3, manifest->table_digest, AF_DIGEST_BYTES);
    manifest->policy_version = read_u32(reader, 4, 1, UINT32_MAX);
    manifest->highest_current_na = read_u32(reader, 5, 0, CURRENT_MAX_NA);
}

static void read_delta(af_delta *delta, const af_manifest *manifest, af_reader *reader)
{
    (void)af_map(reader, 7, 7);
    delta->base_bytes = read_u32(reader, 1, 1, IMAGE_MAX);
    read_bytes(reader, 2, delta->base_digest, AF_DIGEST_BYTES);
    delta->patch_bytes = read_u32(reader, 3, 1, IMAGE_MAX);
    read_bytes(reader, 4, delta->patch_digest, AF_DIGEST_BYTES);
    delta->compression = (uint8_t)read_u32(reader, 5, 0, 4);
    delta->window_bits = (uint8_t)read_u32(reader, 6, 0, 14);
    delta->lookahead_bits = (uint8_t)read_u32(reader, 7, 0, 13);
    bool is_plain = delta->compression == 0 && delta->window_bits == 0 && delta->lookahead_bits == 0;
    bool is_heatshrink = delta->compression == 4 && delta->window_bits >= 4 && delta->lookahead_bits >= 3 &&
                         delta->lookahead_bits < delta->window_bits;
    bool is_own = memcmp(delta->base_digest, manifest->app_digest, AF_DIGEST_BYTES) == 0;
    if ((!is_plain && !is_heatshrink) || is_own || delta->patch_bytes >= manifest->app_bytes) {
        af_fail(reader);
    }
}

/* What only format 2 has: it asks something, the step comes before it, and support outlives it. */
static void read_constraints(af_manifest *manifest, af_reader *reader)
{
    manifest->lowest_counter = read_u32(reader, 14, 0, manifest->release_counter - 1);
    manifest->support_ends_s = read_time(reader, 15);
    bool is_empty = manifest->lowest_counter == 0 && manifest->support_ends_s == 0;
    bool is_outlived = manifest->support_ends_s != 0 && manifest->support_ends_s < manifest->expires_s;
    if (is_empty || is_outlived) {
        af_fail(reader);
    }
}

af_code af_manifest_read(af_manifest *manifest, const af_trust *trust, af_bytes message)
{
    af_reader reader;
    bool is_second;
    memset(manifest, 0, sizeof *manifest);
    af_code code = open_payload(&reader, trust, &manifest_kind, message, &is_second);
    if (code != AF_OK) {
        return code;
    }
    af_bytes product = read_text(&reader, 2, AF_PRODUCT_MAX);
    manifest->release_counter = read_u32(&reader, 3, 1, UINT32_MAX);
    manifest->version = read_text(&reader, 4, 64);
    manifest->hardware_class = read_text(&reader, 5, 32);
    manifest->lowest_revision = read_u32(&reader, 6, 0, UINT32_MAX);
    manifest->highest_revision = read_u32(&reader, 7, manifest->lowest_revision, UINT32_MAX);
    read_application(manifest, &reader);
    read_slot(manifest, &reader);
    uint8_t statement_digest[AF_DIGEST_BYTES];
    read_bytes(&reader, 10, statement_digest, AF_DIGEST_BYTES);
    manifest->issued_s = read_time(&reader, 11);
    manifest->expires_s = read_time(&reader, 12);
    af_key(&reader, 13);
    manifest->delta_count = af_array(&reader, 0, AF_DELTAS_MAX);
    for (size_t i = 0; i < manifest->delta_count; i++) {
        read_delta(&manifest->deltas[i], manifest, &reader);
        if (i > 0 && memcmp(manifest->deltas[i - 1].base_digest, manifest->deltas[i].base_digest,
                            AF_DIGEST_BYTES) >= 0) {
            af_fail(&reader);
        }
    }
    if (is_second) {
        read_constraints(manifest, &reader);
    }
    if (!af_closed(&reader)) {
        return AF_FIELDS;
    }
    if (!af_sha256_of(message, manifest->digest)) {
        return AF_NO_MEMORY;
    }
    return af_equal(product, trust->product) ? AF_OK : AF_PRODUCT;
}

/* Text of different lengths is ascending as text is: "AB" before "ABC" before "B". */
static bool is_ascending(af_bytes left, af_bytes right)
{
    size_t common = left.size < right.size ? left.size : right.size;
    int order = memcmp(left.at, right.at, common);
    return order < 0 || (order == 0 && left.size < right.size);
}

/* What only format 2 has: at least one step, each once, and none of them the release itself. */
static void read_steps(af_assignment *assignment, af_reader *reader)
{
    af_bytes own = {assignment->manifest_digest, AF_DIGEST_BYTES};
    af_key(reader, 13);
    assignment->step_count = af_array(reader, 1, AF_STEPS_MAX);
    for (size_t i = 0; i < assignment->step_count && !reader->failed; i++) {
        assignment->steps[i] = af_byte_string(reader, AF_DIGEST_BYTES, AF_DIGEST_BYTES);
        bool is_said = reader->failed || af_equal(assignment->steps[i], own);
        for (size_t before = 0; before < i && !is_said; before++) {
            is_said = af_equal(assignment->steps[before], assignment->steps[i]);
        }
        if (is_said) {
            af_fail(reader);
        }
    }
}

af_code af_assignment_read(af_assignment *assignment, const af_trust *trust, af_bytes message)
{
    af_reader reader;
    bool is_second;
    memset(assignment, 0, sizeof *assignment);
    af_code code = open_payload(&reader, trust, &assignment_kind, message, &is_second);
    if (code != AF_OK) {
        return code;
    }
    af_bytes product = read_text(&reader, 2, AF_PRODUCT_MAX);
    assignment->hardware_class = read_text(&reader, 3, 32);
    assignment->sequence = read_u32(&reader, 4, 1, UINT32_MAX);
    read_bytes(&reader, 5, assignment->manifest_digest, AF_DIGEST_BYTES);
    (void)read_text(&reader, 6, 48);
    read_bytes(&reader, 7, assignment->salt, AF_SALT_BYTES);
    assignment->share_ppm = read_u32(&reader, 8, 0, 1000000);
    af_key(&reader, 9);
    assignment->pinned_count = af_array(&reader, 0, AF_PINNED_MAX);
    for (size_t i = 0; i < assignment->pinned_count && !reader.failed; i++) {
        assignment->pinned[i] = af_text(&reader, 1, 20);
        if (i > 0 && !reader.failed && !is_ascending(assignment->pinned[i - 1], assignment->pinned[i])) {
            af_fail(&reader);
        }
    }
    af_key(&reader, 10);
    assignment->is_halted = af_boolean(&reader);
    assignment->issued_s = read_time(&reader, 11);
    assignment->expires_s = read_time(&reader, 12);
    if (is_second) {
        read_steps(assignment, &reader);
    }
    if (!af_closed(&reader)) {
        return AF_FIELDS;
    }
    return af_equal(product, trust->product) ? AF_OK : AF_PRODUCT;
}

af_code af_freshness_read(af_freshness *freshness, const af_trust *trust, af_bytes message)
{
    af_reader reader;
    bool is_second;
    memset(freshness, 0, sizeof *freshness);
    af_code code = open_payload(&reader, trust, &freshness_kind, message, &is_second);
    if (code != AF_OK) {
        return code;
    }
    read_bytes(&reader, 2, freshness->nonce, AF_NONCE_BYTES);
    freshness->sequence = read_u32(&reader, 3, 0, UINT32_MAX);
    freshness->time_s = read_time(&reader, 4);
    freshness->hardware_class = read_text(&reader, 5, 32);
    freshness->assignment_sequence = read_u32(&reader, 6, 0, UINT32_MAX);
    return af_closed(&reader) ? AF_OK : AF_FIELDS;
}

size_t af_freshness_request(uint8_t request[AF_REQUEST_MAX], const uint8_t nonce[AF_NONCE_BYTES],
                            af_bytes hardware_class)
{
    static const uint8_t start[] = {0xa3, 0x01, 0x01, 0x02, 0x40 + AF_NONCE_BYTES};
    size_t size = sizeof start;
    if (hardware_class.size == 0 || hardware_class.size > 32) {
        return 0;
    }
    memcpy(request, start, sizeof start);
    memcpy(request + size, nonce, AF_NONCE_BYTES);
    size += AF_NONCE_BYTES;
    request[size++] = 0x03;
    if (hardware_class.size < 24) {
        request[size++] = (uint8_t)(0x60 | hardware_class.size);
    } else {
        request[size++] = 0x78;
        request[size++] = (uint8_t)hardware_class.size;
    }
    memcpy(request + size, hardware_class.at, hardware_class.size);
    return size + hardware_class.size;
}

af_code af_assignment_selects(const af_assignment *assignment, af_bytes serial_number)
{
    uint8_t digest[AF_DIGEST_BYTES];
    if (assignment->is_halted) {
        return AF_HALTED;
    }
    for (size_t i = 0; i < assignment->pinned_count; i++) {
        if (af_equal(assignment->pinned[i], serial_number)) {
            return AF_OK;
        }
    }
    af_pieces drawn = {.piece = {{assignment->salt, AF_SALT_BYTES}, serial_number}, .count = 2};
    if (!af_sha256(&drawn, digest)) {
        return AF_NO_MEMORY;
    }
    uint64_t high = 0;
    uint64_t low = 0;
    for (size_t i = 0; i < 4; i++) {
        high = high << 8 | digest[i];
        low = low << 8 | digest[i + 4];
    }
    /* The upper 64 bits of a product of 64 by 20 bits. */
    uint64_t draw = (high * 1000000U + (low * 1000000U >> 32)) >> 32;
    return draw < assignment->share_ppm ? AF_OK : AF_NOT_SELECTED;
}
