/* A reader of deterministic CBOR (docs/spec/cose.md 2) over bytes in memory.
 *
 * It reads what a format says comes next, and nothing else: there is no generic walk, no nesting to
 * bound, no allocation. A reader that met something else is *failed* and stays so: every later read
 * gives zero or nothing, so that a format is read straight down and asked once at its end. */
#ifndef AF_CBOR_H
#define AF_CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A stretch of somebody else's memory. */
typedef struct {
    const uint8_t *at;
    size_t size;
} af_bytes;

typedef struct {
    const uint8_t *at;
    size_t left;
    bool failed;
} af_reader;

void af_open(af_reader *reader, af_bytes bytes);

/* Whether everything was read as asked, and no byte is left. */
bool af_closed(const af_reader *reader);

/* The first byte of the next item, or 0xff (which begins no valid item) at the end. */
uint8_t af_peek(const af_reader *reader);

/* An integer within the bounds. `af_integer` is for both signs; -2^63 is the least it can give. */
uint64_t af_unsigned(af_reader *reader, uint64_t least, uint64_t most);
int64_t af_integer(af_reader *reader, int64_t least, int64_t most);

/* Passes over one integer of any size and sign (-2^64 to 2^64-1). */
void af_skip_integer(af_reader *reader);

/* A byte string of so many bytes; text of so many printable ASCII characters (0x20 to 0x7e). */
af_bytes af_byte_string(af_reader *reader, size_t least, size_t most);
af_bytes af_text(af_reader *reader, size_t least, size_t most);

/* Text of so many code points in UTF-8. */
af_bytes af_unicode(af_reader *reader, size_t least, size_t most);

/* Copies a byte string of exactly `size` bytes; fills with zeros when it is not one. */
void af_copy_bytes(af_reader *reader, uint8_t *to, size_t size);

/* The count of an array's items or a map's pairs. */
size_t af_array(af_reader *reader, size_t least, size_t most);
size_t af_map(af_reader *reader, size_t least, size_t most);

/* The integer key that has to come next in a map. */
void af_key(af_reader *reader, uint8_t key);

bool af_boolean(af_reader *reader);

/* One byte that has to come next, as of a tag. */
void af_literal(af_reader *reader, uint8_t byte);

/* Marks the reader as failed: for rules that the caller checks itself. */
void af_fail(af_reader *reader);

bool af_equal(af_bytes left, af_bytes right);
bool af_is_text(af_bytes bytes, const char *text);

#endif
