/* Numbers of 256 bits, and the field of Curve25519, in fixed memory.
 *
 * A number is eight words of 32 bits, least first. A field element is any such number, taken modulo
 * p = 2^255-19. Results may be one of the operands, unless a comment says otherwise. */
#ifndef AF_FIELD25519_H
#define AF_FIELD25519_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AF_WORDS = 8 };

typedef uint32_t word256[AF_WORDS];

extern const word256 af_field_p;

/* 32 bytes, least first. */
void af_word_load(word256 to, const uint8_t from[32]);
void af_word_store(uint8_t to[32], const word256 from);

/* difference = left - right modulo 2^256; what it borrows, 0 or 1. */
uint32_t af_word_subtract(word256 difference, const word256 left, const word256 right);
bool af_word_is_below(const word256 left, const word256 right);

void af_field_add(word256 sum, const word256 left, const word256 right);
void af_field_subtract(word256 difference, const word256 left, const word256 right);
void af_field_multiply(word256 product, const word256 left, const word256 right);

/* The one representative below p, in place. */
void af_field_reduce(word256 value);
bool af_field_equal(const word256 left, const word256 right);

/* value to the power of 2^a - b, where a is at most 255. */
void af_field_power(word256 power, const word256 value, unsigned a, uint32_t b);

#endif
