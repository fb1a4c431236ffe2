/* The words of one case, NAME=VALUE, for the host programs. Not for firmware: it allocates. */
#ifndef FIELDS_H
#define FIELDS_H

#include "../af_cbor.h"

enum { FIELDS_MAX = 32 };

typedef struct {
    const char *name[FIELDS_MAX];
    const char *value[FIELDS_MAX];
    uint8_t *held[FIELDS_MAX]; /* exactly as long as the bytes are, so that ASan sees a byte too far */
    size_t size[FIELDS_MAX];
    size_t count;
    const char *wrong; /* what could not be read, or NULL */
} fields;

/* Takes a word apart in place. */
void fields_add(fields *all, char *word);

void fields_free(fields *all);

bool fields_has(const fields *all, const char *name);

/* Hexadecimal, or @FILE. A word that is missing or cannot be read sets `wrong`. */
af_bytes fields_bytes(fields *all, const char *name);

/* Like fields_bytes, of exactly `size` bytes. */
void fields_copy(fields *all, const char *name, uint8_t *to, size_t size);

/* Decimal; `otherwise` when the word is missing. */
uint64_t fields_number(fields *all, const char *name, uint64_t otherwise);

af_bytes fields_text(fields *all, const char *name);

#endif
