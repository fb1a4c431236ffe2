#include "af_table.h"

#include <string.h>

enum {
    HEADER_BYTES = 104,
    MODE_BYTES = 40,
    LEVEL_BYTES = 8,
    SEGMENT_BYTES = 12,
    MODES_MAX = 16,
    LEVELS_MAX = 16,
    SEGMENTS_MAX = 4096,
    UNROLLED_MAX = 65536,
    NAME_BYTES = 16,
    CLASS_BYTES = 32,
    SLOT_HEADER_BYTES = 16,
    SECTOR_BYTES = 4096
};

static const uint32_t current_max_na = 0x7fffffff;

/* Where reading stands: it ends before the trailing digest. */
typedef struct {
    const uint8_t *at;
    size_t left;
} cursor;

typedef struct {
    uint64_t session_ticks;
    uint32_t tick_us;
    uint32_t pulses;
    uint32_t rest_ticks;
    uint32_t soft_start;
    uint32_t soft_stop;
    bool flips;
} mode_times;

static uint16_t u16_at(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t u32_at(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static const uint8_t *take(cursor *from, size_t size)
{
    if (from->left < size) {
        return NULL;
    }
    const uint8_t *at = from->at;
    from->at += size;
    from->left -= size;
    return at;
}

static bool is_filled(const uint8_t *at, size_t size, uint8_t with)
{
    for (size_t i = 0; i < size; i++) {
        if (at[i] != with) {
            return false;
        }
    }
    return true;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_class_byte(uint8_t byte, bool is_first)
{
    return (byte >= 'a' && byte <= 'z') || is_digit(byte) ||
           (!is_first && (byte == '.' || byte == '_' || byte == '-'));
}

static bool is_mode_byte(uint8_t byte, bool is_first)
{
    return (byte >= 'A' && byte <= 'Z') || (!is_first && (is_digit(byte) || byte == '_'));
}

/* The length of a name that is padded with zeros; 0 if it is none. */
static size_t name_length(const uint8_t *at, size_t size, bool (*is_allowed)(uint8_t, bool))
{
    size_t length = 0;
    while (length < size && at[length] != 0) {
        if (!is_allowed(at[length], length == 0)) {
            return 0;
        }
        length++;
    }
    return is_filled(at + length, size - length, 0) ? length : 0;
}

/* P of section 1.7 for a pulse of so many ticks; no product leaves 64 bits (pulses <= 65536). */
static uint64_t session_pulses(const mode_times *times, uint64_t pulse_ticks)
{
    uint64_t burst_ticks = times->pulses * pulse_ticks + times->rest_ticks;
    uint64_t more = times->session_ticks % burst_ticks / pulse_ticks;
    uint64_t whole = times->session_ticks / burst_ticks * times->pulses;
    return whole + (more < times->pulses ? more : times->pulses);
}

static bool is_ramp(uint32_t pulses, uint64_t segments)
{
    return pulses == 0 || (pulses >= 2 && pulses * segments <= UNROLLED_MAX);
}

/* Sections 1.7, 1.8 and 4 for one level. */
static bool has_room(const mode_times *times, uint64_t segments, uint64_t pulse_ticks)
{
    uint64_t burst_segments = times->pulses * segments + 1;
    if (burst_segments * (times->flips ? 2 : 1) > UNROLLED_MAX) {
        return false;
    }
    uint64_t pulses = session_pulses(times, pulse_ticks);
    uint64_t ramped = (uint64_t)times->soft_start + times->soft_stop;
    if (pulses == 0 || ramped > pulses || !is_ramp(times->soft_start, segments) ||
        !is_ramp(times->soft_stop, segments)) {
        return false;
    }
    /* A pulse is no longer than a session here, so that its microseconds fit. */
    uint64_t pulses_in_a_second = 1000000U / (pulse_ticks * times->tick_us);
    return ramped == 0 || pulses_in_a_second * segments <= UNROLLED_MAX;
}

/* One level with its segments; the peak it gives is 0 if it is not one. */
static uint32_t read_level(cursor *from, const mode_times *times)
{
    const uint8_t *level = take(from, LEVEL_BYTES);
    if (level == NULL) {
        return 0;
    }
    uint32_t peak_na = u32_at(level);
    uint16_t segments = u16_at(level + 4);
    if (segments == 0 || segments > SEGMENTS_MAX || u16_at(level + 6) != 0) {
        return 0;
    }
    uint32_t largest_na = 0;
    uint64_t pulse_ticks = 0;
    uint32_t last_na = 0;
    for (uint16_t i = 0; i < segments; i++) {
        const uint8_t *segment = take(from, SEGMENT_BYTES);
        if (segment == NULL || u32_at(segment) == 0) {
            return 0;
        }
        pulse_ticks += u32_at(segment);
        for (size_t end = 4; end <= 8; end += 4) {
            uint32_t word = u32_at(segment + end);
            uint32_t size_na = word > current_max_na ? ~word + 1U : word;
            if (size_na > current_max_na) { /* -2^31 */
                return 0;
            }
            last_na = size_na;
            largest_na = size_na > largest_na ? size_na : largest_na;
        }
    }
    bool is_whole = peak_na == largest_na && last_na == 0 && has_room(times, segments, pulse_ticks);
    return is_whole ? peak_na : 0;
}

static bool read_mode(cursor *from, af_table *table, uint32_t tick_us)
{
    const uint8_t *mode = take(from, MODE_BYTES);
    if (mode == NULL || name_length(mode, NAME_BYTES, is_mode_byte) == 0) {
        return false;
    }
    uint8_t levels = mode[19];
    mode_times times = {
        .session_ticks = u32_at(mode + 28),
        .tick_us = tick_us,
        .pulses = u32_at(mode + 20),
        .rest_ticks = u32_at(mode + 24),
        .soft_start = u32_at(mode + 32),
        .soft_stop = u32_at(mode + 36),
        .flips = mode[18] == 1,
    };
    bool has_values = mode[16] <= 1 && mode[17] <= 1 && mode[18] <= 1 && levels >= 1 && levels <= LEVELS_MAX &&
                      times.pulses >= 1 && times.pulses <= UNROLLED_MAX && times.session_ticks >= 1;
    uint32_t last_peak_na = 0;
    for (uint8_t i = 0; has_values && i < levels; i++) {
        uint32_t peak_na = read_level(from, &times);
        if (peak_na <= last_peak_na) {
            return false;
        }
        last_peak_na = peak_na;
    }
    table->peak_na = last_peak_na > table->peak_na ? last_peak_na : table->peak_na;
    return has_values;
}

static bool read_modes(af_table *table, af_bytes bytes)
{
    const uint8_t *names[MODES_MAX];
    cursor from = {bytes.at + HEADER_BYTES, bytes.size - HEADER_BYTES - AF_DIGEST_BYTES};
    uint16_t modes = u16_at(bytes.at + 96);
    uint32_t tick_us = u32_at(bytes.at + 12);
    if (modes < 1 || modes > MODES_MAX) {
        return false;
    }
    for (uint16_t i = 0; i < modes; i++) {
        names[i] = from.at;
        if (!read_mode(&from, table, tick_us)) {
            return false;
        }
        for (uint16_t j = 0; j < i; j++) {
            if (memcmp(names[j], names[i], NAME_BYTES) == 0) {
                return false;
            }
        }
    }
    return from.left == 0;
}

static bool read_header(af_table *table, const uint8_t *at)
{
    uint32_t tick_us = u32_at(at + 12);
    uint32_t clamp_na = u32_at(at + 16);
    uint32_t area_mm2 = u32_at(at + 24);
    table->policy_version = u32_at(at + 28);
    memcpy(table->policy_digest, at + 32, AF_DIGEST_BYTES);
    table->hardware_class.at = at + 64;
    table->hardware_class.size = name_length(at + 64, CLASS_BYTES, is_class_byte);
    return tick_us >= 1 && tick_us <= 1000000 && clamp_na >= 1 && clamp_na <= current_max_na &&
           u32_at(at + 20) >= 1 && area_mm2 >= 1 && area_mm2 <= 1000000 && table->policy_version >= 1 &&
           table->hardware_class.size != 0 && is_filled(at + 98, 6, 0);
}

af_code af_table_read(af_table *table, af_bytes bytes)
{
    static const uint8_t start[] = {'A', 'F', 'W', 'T', 1, 0, HEADER_BYTES, 0};
    uint8_t digest[AF_DIGEST_BYTES];
    memset(table, 0, sizeof *table);
    if (bytes.size < HEADER_BYTES + AF_DIGEST_BYTES || bytes.size > AF_TABLE_MAX ||
        memcmp(bytes.at, start, sizeof start) != 0 || u32_at(bytes.at + 8) != bytes.size) {
        return AF_TABLE;
    }
    af_bytes content = {bytes.at, bytes.size - AF_DIGEST_BYTES};
    if (!af_sha256_of(content, digest)) {
        return AF_NO_MEMORY;
    }
    if (memcmp(digest, content.at + content.size, AF_DIGEST_BYTES) != 0) {
        return AF_TABLE_DIGEST;
    }
    return read_header(table, bytes.at) && read_modes(table, bytes) ? AF_OK : AF_TABLE;
}

/* FF to the end; or FF to a sector, a signature sector, FF to the end (secure-boot.md 2 and 7).
 * Whoever requires that signature verifies it; here it only has to be one, by its first two bytes. */
static bool is_slot_end(af_bytes image, size_t used)
{
    if (is_filled(image.at + used, image.size - used, 0xff)) {
        return true;
    }
    size_t sector = (used + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    if (image.size < sector + SECTOR_BYTES || image.at[sector] != 0xe7 ||
        (image.at[sector + 1] != 0x02 && image.at[sector + 1] != 0x03)) {
        return false;
    }
    size_t end = sector + SECTOR_BYTES;
    return is_filled(image.at + used, sector - used, 0xff) && is_filled(image.at + end, image.size - end, 0xff);
}

af_code af_slot_read(af_slot *slot, af_bytes image)
{
    static const uint8_t start[] = {'A', 'F', 'W', 'S', 1, 0, SLOT_HEADER_BYTES, 0};
    if (image.size < SLOT_HEADER_BYTES || image.size > AF_SLOT_MAX || memcmp(image.at, start, sizeof start) != 0) {
        return AF_SLOT;
    }
    uint32_t table_bytes = u32_at(image.at + 8);
    uint32_t approval_bytes = u32_at(image.at + 12);
    if (table_bytes < 1 || table_bytes > AF_TABLE_MAX || approval_bytes < 1 || approval_bytes > AF_APPROVAL_MAX) {
        return AF_SLOT;
    }
    size_t used = SLOT_HEADER_BYTES + (size_t)table_bytes + approval_bytes;
    if (used > image.size || !is_slot_end(image, used)) {
        return AF_SLOT;
    }
    slot->table.at = image.at + SLOT_HEADER_BYTES;
    slot->table.size = table_bytes;
    slot->approval.at = slot->table.at + table_bytes;
    slot->approval.size = approval_bytes;
    return AF_OK;
}
