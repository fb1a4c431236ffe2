/* A sum or product that carries out of 2^256 comes back in times 38, which is 2^256 modulo p. */
#include "af_field25519.h"

#include <string.h>

#include "af_crypto.h"

#if AF_WITH_EDDSA

enum { FOLD = 38 };

const word256 af_field_p = {0xffffffed, 0xffffffff, 0xffffffff, 0xffffffff,
                                0xffffffff, 0xffffffff, 0xffffffff, 0x7fffffff};
static const word256 one = {1, 0, 0, 0, 0, 0, 0, 0};

void af_word_load(word256 to, const uint8_t from[32])
{
    for (size_t i = 0; i < AF_WORDS; i++) {
        to[i] = (uint32_t)from[4 * i] | (uint32_t)from[4 * i + 1] << 8 | (uint32_t)from[4 * i + 2] << 16 |
                (uint32_t)from[4 * i + 3] << 24;
    }
}

void af_word_store(uint8_t to[32], const word256 from)
{
    for (size_t i = 0; i < 4 * AF_WORDS; i++) {
        to[i] = (uint8_t)(from[i / 4] >> (8 * (i % 4)));
    }
}

uint32_t af_word_subtract(word256 difference, const word256 left, const word256 right)
{
    uint64_t borrow = 0;
    for (size_t i = 0; i < AF_WORDS; i++) {
        uint64_t word = (uint64_t)left[i] - right[i] - borrow;
        difference[i] = (uint32_t)(word & 0xffffffffU);
        borrow = word >> 63;
    }
    return (uint32_t)borrow;
}

bool af_word_is_below(const word256 left, const word256 right)
{
    word256 unused;
    return af_word_subtract(unused, left, right) != 0;
}

/* Adds a small number in place; what it carries, 0 or 1. */
static uint32_t add_small(word256 to, uint64_t carry)
{
    for (size_t i = 0; i < AF_WORDS; i++) {
        carry += to[i];
        to[i] = (uint32_t)(carry & 0xffffffffU);
        carry >>= 32;
    }
    return (uint32_t)carry;
}

void af_field_add(word256 sum, const word256 left, const word256 right)
{
    uint64_t carry = 0;
    for (size_t i = 0; i < AF_WORDS; i++) {
        carry += (uint64_t)left[i] + right[i];
        sum[i] = (uint32_t)(carry & 0xffffffffU);
        carry >>= 32;
    }
    carry = add_small(sum, carry * FOLD);
    (void)add_small(sum, carry * FOLD); /* carries nothing: the sum is tiny if the first one did */
}

void af_field_subtract(word256 difference, const word256 left, const word256 right)
{
    word256 fold = {FOLD, 0, 0, 0, 0, 0, 0, 0};
    fold[0] = FOLD * af_word_subtract(difference, left, right);
    fold[0] = FOLD * af_word_subtract(difference, difference, fold);
    (void)af_word_subtract(difference, difference, fold);
}

void af_field_multiply(word256 product, const word256 left, const word256 right)
{
    uint32_t wide[2 * AF_WORDS] = {0};
    for (size_t i = 0; i < AF_WORDS; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < AF_WORDS; j++) {
            carry += (uint64_t)left[i] * right[j] + wide[i + j];
            wide[i + j] = (uint32_t)(carry & 0xffffffffU);
            carry >>= 32;
        }
        wide[i + AF_WORDS] = (uint32_t)carry;
    }
    uint64_t carry = 0;
    for (size_t i = 0; i < AF_WORDS; i++) {
        carry += (uint64_t)wide[i + AF_WORDS] * FOLD + wide[i];
        product[i] = (uint32_t)(carry & 0xffffffffU);
        carry >>= 32;
    }
    carry = add_small(product, carry * FOLD);
    (void)add_small(product, carry * FOLD);
}

void af_field_reduce(word256 value)
{
    word256 less;
    for (int i = 0; i < 2; i++) { /* below 2^256 = 2p + 38 */
        if (af_word_subtract(less, value, af_field_p) == 0) {
            memcpy(value, less, sizeof less);
        }
    }
    if (af_word_subtract(less, value, af_field_p) == 0) {
        memcpy(value, less, sizeof less);
    }
}

bool af_field_equal(const word256 left, const word256 right)
{
    word256 difference;
    word256 zero = {0};
    af_field_subtract(difference, left, right);
    af_field_reduce(difference);
    return memcmp(difference, zero, sizeof zero) == 0;
}

void af_field_power(word256 power, const word256 value, unsigned a, uint32_t b)
{
    word256 exponent;
    word256 subtrahend = {b, 0, 0, 0, 0, 0, 0, 0};
    memset(exponent, 0, sizeof exponent);
    exponent[a / 32] = (uint32_t)1 << (a % 32);
    (void)af_word_subtract(exponent, exponent, subtrahend);
    word256 result;
    memcpy(result, one, sizeof result);
    for (unsigned i = 256; i-- > 0;) {
        af_field_multiply(result, result, result);
        if ((exponent[i / 32] >> (i % 32) & 1) != 0) {
            af_field_multiply(result, result, value);
        }
    }
    memcpy(power, result, sizeof result);
}

#else
typedef int af_field25519_is_not_built; /* a file may not be empty */
#endif
