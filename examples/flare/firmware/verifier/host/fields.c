#include "fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

void fields_add(fields *all, char *word)
{
    char *equals = strchr(word, '=');
    if (equals == NULL || all->count == FIELDS_MAX) {
        all->wrong = "a word is not NAME=VALUE, or there are too many";
        return;
    }
    *equals = '\0';
    all->name[all->count] = word;
    all->value[all->count] = equals + 1;
    all->held[all->count] = NULL;
    all->count++;
}

void fields_free(fields *all)
{
    for (size_t i = 0; i < all->count; i++) {
        free(all->held[i]);
    }
    all->count = 0;
    all->wrong = NULL;
}

static size_t index_of(const fields *all, const char *name)
{
    size_t index = 0;
    while (index < all->count && strcmp(all->name[index], name) != 0) {
        index++;
    }
    return index;
}

bool fields_has(const fields *all, const char *name)
{
    return index_of(all, name) < all->count;
}

static int digit(char character)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = character == '\0' ? NULL : strchr(digits, character);
    return at == NULL ? -1 : (int)(at - digits);
}

static uint8_t *read_hexadecimal(const char *text, size_t *size)
{
    size_t length = strlen(text);
    uint8_t *bytes = malloc(length / 2 == 0 ? 1 : length / 2);
    if (bytes == NULL || length % 2 != 0) {
        free(bytes);
        return NULL;
    }
    for (size_t i = 0; i < length / 2; i++) {
        int high = digit(text[2 * i]);
        int low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            free(bytes);
            return NULL;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    *size = length / 2;
    return bytes;
}

static uint8_t *read_file(const char *path, size_t *size)
{
    static uint8_t whole[FILE_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    *size = fread(whole, 1, sizeof whole, file);
    bool is_read = ferror(file) == 0 && *size < sizeof whole;
    (void)fclose(file);
    uint8_t *bytes = is_read ? malloc(*size == 0 ? 1 : *size) : NULL;
    if (bytes != NULL) {
        memcpy(bytes, whole, *size);
    }
    return bytes;
}

af_bytes fields_bytes(fields *all, const char *name)
{
    af_bytes result = {NULL, 0};
    size_t index = index_of(all, name);
    if (index == all->count) {
        all->wrong = name;
        return result;
    }
    if (all->held[index] == NULL) {
        const char *value = all->value[index];
        all->held[index] = value[0] == '@' ? read_file(value + 1, &all->size[index])
                                           : read_hexadecimal(value, &all->size[index]);
        if (all->held[index] == NULL) {
            all->wrong = name;
            return result;
        }
    }
    result.at = all->held[index];
    result.size = all->size[index];
    return result;
}

void fields_copy(fields *all, const char *name, uint8_t *to, size_t size)
{
    af_bytes bytes = fields_bytes(all, name);
    memset(to, 0, size);
    if (bytes.at == NULL || bytes.size != size) {
        all->wrong = name;
        return;
    }
    memcpy(to, bytes.at, size);
}

uint64_t fields_number(fields *all, const char *name, uint64_t otherwise)
{
    size_t index = index_of(all, name);
    if (index == all->count) {
        return otherwise;
    }
    char *end = NULL;
    unsigned long long value = strtoull(all->value[index], &end, 10);
    if (all->value[index][0] < '0' || all->value[index][0] > '9' || *end != '\0') {
        all->wrong = name;
    }
    return value;
}

af_bytes fields_text(fields *all, const char *name)
{
    af_bytes result = {NULL, 0};
    size_t index = index_of(all, name);
    if (index == all->count) {
        all->wrong = name;
        return result;
    }
    result.at = (const uint8_t *)all->value[index];
    result.size = strlen(all->value[index]);
    return result;
}
