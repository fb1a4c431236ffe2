#include "af_cbor.h"

#include <string.h>

enum { UNSIGNED = 0, NEGATIVE = 1, BYTES = 2, TEXT = 3, ARRAY = 4, MAP = 5 };
enum { FALSE_BYTE = 0xf4, TRUE_BYTE = 0xf5, END_BYTE = 0xff };

void af_open(af_reader *reader, af_bytes bytes)
{
    reader->at = bytes.at;
    reader->left = bytes.size;
    reader->failed = false;
}

bool af_closed(const af_reader *reader)
{
    return !reader->failed && reader->left == 0;
}

uint8_t af_peek(const af_reader *reader)
{
    return reader->failed || reader->left == 0 ? (uint8_t)END_BYTE : reader->at[0];
}

void af_fail(af_reader *reader)
{
    reader->failed = true;
    reader->left = 0;
}

/* The next bytes; they are there only if the reader has not failed. */
static const uint8_t *take(af_reader *reader, size_t size)
{
    if (reader->failed || reader->left < size) {
        af_fail(reader);
        return NULL;
    }
    const uint8_t *at = reader->at;
    reader->at += size;
    reader->left -= size;
    return at;
}

/* The argument of an item's head, which has to be of one major type and in its shortest form. */
static uint64_t head(af_reader *reader, uint8_t major)
{
    const uint8_t *first = take(reader, 1);
    if (first == NULL || first[0] >> 5 != major) {
        af_fail(reader);
        return 0;
    }
    uint8_t information = first[0] & 0x1f;
    if (information < 24) {
        return information;
    }
    if (information > 27) { /* reserved, or of indefinite length */
        af_fail(reader);
        return 0;
    }
    size_t size = (size_t)1 << (information - 24);
    const uint8_t *argument = take(reader, size);
    if (argument == NULL) {
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | argument[i];
    }
    /* One byte holds 24 and more, each larger size what half of it does not. */
    uint64_t least = size == 1 ? 24 : (uint64_t)1 << (4 * size);
    if (value < least) {
        af_fail(reader);
        return 0;
    }
    return value;
}

static uint64_t within(af_reader *reader, uint64_t value, uint64_t least, uint64_t most)
{
    if (reader->failed || value < least || value > most) {
        af_fail(reader);
        return 0;
    }
    return value;
}

uint64_t af_unsigned(af_reader *reader, uint64_t least, uint64_t most)
{
    return within(reader, head(reader, UNSIGNED), least, most);
}

int64_t af_integer(af_reader *reader, int64_t least, int64_t most)
{
    bool is_negative = af_peek(reader) >> 5 == NEGATIVE;
    uint64_t argument = head(reader, is_negative ? NEGATIVE : UNSIGNED);
    if (reader->failed || argument > (uint64_t)INT64_MAX) {
        af_fail(reader);
        return 0;
    }
    int64_t value = is_negative ? -1 - (int64_t)argument : (int64_t)argument;
    if (value < least || value > most) {
        af_fail(reader);
        return 0;
    }
    return value;
}

void af_skip_integer(af_reader *reader)
{
    (void)head(reader, af_peek(reader) >> 5 == NEGATIVE ? NEGATIVE : UNSIGNED);
}

static af_bytes string(af_reader *reader, uint8_t major, size_t least, size_t most)
{
    af_bytes result = {NULL, 0};
    uint64_t size = within(reader, head(reader, major), least, most);
    if (size > reader->left) { /* before the length is used for anything */
        af_fail(reader);
    }
    if (!reader->failed) {
        result.size = (size_t)size;
        result.at = take(reader, result.size);
    }
    return result;
}

af_bytes af_byte_string(af_reader *reader, size_t least, size_t most)
{
    return string(reader, BYTES, least, most);
}

af_bytes af_text(af_reader *reader, size_t least, size_t most)
{
    af_bytes text = string(reader, TEXT, least, most);
    for (size_t i = 0; i < text.size; i++) {
        if (text.at[i] < 0x20 || text.at[i] > 0x7e) {
            af_fail(reader);
            text.size = 0;
        }
    }
    return text;
}

/* How many bytes the character at the start of text has; 0 if it is not UTF-8 (RFC 3629 4). */
static size_t character_bytes(const uint8_t *at, size_t left)
{
    static const struct {
        uint8_t first, last, size, least, most; /* of the first byte; of the second */
    } forms[] = {
        {0x00, 0x7f, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
        {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
        {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f}};
    size_t form = 0;
    while (form < sizeof forms / sizeof forms[0] && (at[0] < forms[form].first || at[0] > forms[form].last)) {
        form++;
    }
    if (form == sizeof forms / sizeof forms[0] || forms[form].size > left) {
        return 0;
    }
    for (size_t i = 1; i < forms[form].size; i++) {
        uint8_t least = i == 1 ? forms[form].least : 0x80;
        uint8_t most = i == 1 ? forms[form].most : 0xbf;
        if (at[i] < least || at[i] > most) {
            return 0;
        }
    }
    return forms[form].size;
}

af_bytes af_unicode(af_reader *reader, size_t least, size_t most)
{
    af_bytes text = string(reader, TEXT, least, 4 * most);
    size_t characters = 0;
    for (size_t i = 0; i < text.size && !reader->failed; characters++) {
        size_t size = character_bytes(text.at + i, text.size - i);
        if (size == 0) {
            af_fail(reader);
        }
        i += size;
    }
    if (reader->failed || characters < least || characters > most) {
        af_fail(reader);
        text.size = 0;
    }
    return text;
}

void af_copy_bytes(af_reader *reader, uint8_t *to, size_t size)
{
    af_bytes bytes = af_byte_string(reader, size, size);
    if (bytes.size == size && bytes.at != NULL) {
        memcpy(to, bytes.at, size);
    } else {
        memset(to, 0, size);
    }
}

size_t af_array(af_reader *reader, size_t least, size_t most)
{
    uint64_t count = within(reader, head(reader, ARRAY), least, most);
    return (size_t)within(reader, count, 0, reader->left);
}

size_t af_map(af_reader *reader, size_t least, size_t most)
{
    uint64_t count = within(reader, head(reader, MAP), least, most);
    return (size_t)within(reader, count, 0, reader->left / 2);
}

void af_key(af_reader *reader, uint8_t key)
{
    (void)af_unsigned(reader, key, key);
}

bool af_boolean(af_reader *reader)
{
    const uint8_t *byte = take(reader, 1);
    if (byte == NULL || (byte[0] != FALSE_BYTE && byte[0] != TRUE_BYTE)) {
        af_fail(reader);
        return false;
    }
    return byte[0] == TRUE_BYTE;
}

void af_literal(af_reader *reader, uint8_t wanted)
{
    const uint8_t *byte = take(reader, 1);
    if (byte == NULL || byte[0] != wanted) {
        af_fail(reader);
    }
}

bool af_equal(af_bytes left, af_bytes right)
{
    return left.size == right.size && (left.size == 0 || memcmp(left.at, right.at, left.size) == 0);
}

bool af_is_text(af_bytes bytes, const char *text)
{
    af_bytes other = {(const uint8_t *)text, strlen(text)};
    return af_equal(bytes, other);
}
