/* Points are in extended coordinates (X : Y : Z : T), x = X/Z, y = Y/Z, xy = T/Z, with the one
 * addition of Hisil, Wong, Carter and Dawson (2008, section 3.1), which holds for doubling and for
 * the neutral point, too. */
#include "af_ed25519.h"

#include <string.h>

#include "af_field25519.h"

#if AF_WITH_EDDSA

typedef struct {
    word256 x, y, z, t;
} point;

static const word256 curve_d = {0x135978a3, 0x75eb4dca, 0x4141d8ab, 0x00700a4d,
                                0x7779e898, 0x8cc74079, 0x2b6ffe73, 0x52036cee};
static const word256 curve_2d = {0x26b2f159, 0xebd69b94, 0x8283b156, 0x00e0149a,
                                 0xeef3d130, 0x198e80f2, 0x56dffce7, 0x2406d9dc};
static const word256 root_of_minus_1 = {0x4a0ea0b0, 0xc4ee1b27, 0xad2fe478, 0x2f431806,
                                        0x3dfbd7a7, 0x2b4d0099, 0x4fc1df0b, 0x2b832480};
static const word256 order = {0x5cf5d3ed, 0x5812631a, 0xa2f79cd6, 0x14def9de, 0, 0, 0, 0x10000000};
static const word256 one = {1, 0, 0, 0, 0, 0, 0, 0};
static const point base = {
    {0x8f25d51a, 0xc9562d60, 0x9525a7b2, 0x692cc760, 0xfdd6dc5c, 0xc0a4e231, 0xcd6e53fe, 0x216936d3},
    {0x66666658, 0x66666666, 0x66666666, 0x66666666, 0x66666666, 0x66666666, 0x66666666, 0x66666666},
    {1, 0, 0, 0, 0, 0, 0, 0},
    {0xa5b7dda3, 0x6dde8ab3, 0x775152f5, 0x20f09f80, 0x64abe37d, 0x66ea4e8e, 0xd78b7665, 0x67875f0f}};

/* RFC 8032 5.1.3; false when the bytes name no point. */
static bool decode(point *to, const uint8_t from[32])
{
    uint8_t bytes[32];
    memcpy(bytes, from, sizeof bytes);
    unsigned sign = bytes[31] >> 7;
    bytes[31] &= 0x7f;
    af_word_load(to->y, bytes);
    if (!af_word_is_below(to->y, af_field_p)) {
        return false;
    }
    word256 square, u, v, v3, root, check;
    af_field_multiply(square, to->y, to->y);
    af_field_subtract(u, square, one);
    af_field_multiply(v, square, curve_d);
    af_field_add(v, v, one);
    af_field_multiply(v3, v, v);
    af_field_multiply(v3, v3, v);
    af_field_multiply(root, v3, v3);
    af_field_multiply(root, root, v);
    af_field_multiply(root, root, u);
    af_field_power(root, root, 252, 3); /* (p-5)/8 */
    af_field_multiply(root, root, v3);
    af_field_multiply(root, root, u);
    af_field_multiply(check, root, root);
    af_field_multiply(check, check, v);
    if (!af_field_equal(check, u)) {
        af_field_multiply(root, root, root_of_minus_1);
        af_field_multiply(check, root, root);
        af_field_multiply(check, check, v);
        if (!af_field_equal(check, u)) {
            return false;
        }
    }
    af_field_reduce(root);
    word256 zero = {0};
    if (memcmp(root, zero, sizeof zero) == 0 && sign != 0) {
        return false;
    }
    if ((root[0] & 1) != sign) {
        af_field_subtract(root, zero, root);
    }
    memcpy(to->x, root, sizeof root);
    memcpy(to->z, one, sizeof one);
    af_field_multiply(to->t, to->x, to->y);
    return true;
}

static void encode(uint8_t to[32], const point *from)
{
    word256 inverse, x, y;
    af_field_power(inverse, from->z, 255, 21); /* p-2 */
    af_field_multiply(x, from->x, inverse);
    af_field_multiply(y, from->y, inverse);
    af_field_reduce(x);
    af_field_reduce(y);
    af_word_store(to, y);
    to[31] = (uint8_t)(to[31] | (x[0] & 1) << 7);
}

/* `sum` may be one of the other two. */
static void add(point *sum, const point *left, const point *right)
{
    word256 a, b, c, d, e, f;
    af_field_subtract(a, left->y, left->x);
    af_field_subtract(e, right->y, right->x);
    af_field_multiply(a, a, e);
    af_field_add(b, left->y, left->x);
    af_field_add(e, right->y, right->x);
    af_field_multiply(b, b, e);
    af_field_multiply(c, left->t, right->t);
    af_field_multiply(c, c, curve_2d);
    af_field_multiply(d, left->z, right->z);
    af_field_add(d, d, d);
    af_field_subtract(e, b, a);
    af_field_subtract(f, d, c);
    af_field_add(d, d, c);
    af_field_add(b, b, a);
    af_field_multiply(sum->x, e, f);
    af_field_multiply(sum->y, d, b);
    af_field_multiply(sum->t, e, b);
    af_field_multiply(sum->z, f, d);
}

/* A digest of 64 bytes, least first, modulo the group's order. */
static void scalar_reduce(word256 scalar, const uint8_t digest[64])
{
    memset(scalar, 0, sizeof(word256));
    for (unsigned i = 512; i-- > 0;) {
        uint32_t carry = (uint32_t)digest[i / 8] >> (i % 8) & 1U;
        for (size_t j = 0; j < AF_WORDS; j++) { /* stays below twice the order, so no bit is lost */
            uint32_t top = scalar[j] >> 31;
            scalar[j] = scalar[j] << 1 | carry;
            carry = top;
        }
        if (!af_word_is_below(scalar, order)) {
            (void)af_word_subtract(scalar, scalar, order);
        }
    }
}

static bool challenge(word256 k, const uint8_t key[32], const af_pieces *message, const uint8_t r[32])
{
    af_pieces hashed = {.piece = {{r, 32}, {key, 32}}, .count = 2};
    uint8_t digest[64];
    for (size_t i = 0; i < message->count; i++) {
        if (hashed.count == AF_PIECES_MAX) {
            return false;
        }
        hashed.piece[hashed.count++] = message->piece[i];
    }
    if (!af_sha512(&hashed, false, digest)) {
        return false;
    }
    scalar_reduce(k, digest);
    return true;
}

bool af_ed25519_verify(const uint8_t key[32], const af_pieces *message, const uint8_t signature[64])
{
    point minus_a, both, sum;
    word256 k, s;
    const word256 zero = {0};
    af_word_load(s, signature + 32);
    if (!af_word_is_below(s, order) || !decode(&minus_a, key) || !challenge(k, key, message, signature)) {
        return false;
    }
    af_field_subtract(minus_a.x, zero, minus_a.x);
    af_field_subtract(minus_a.t, zero, minus_a.t);
    add(&both, &base, &minus_a);
    memset(&sum, 0, sizeof sum);
    sum.y[0] = 1;
    sum.z[0] = 1;
    for (unsigned i = 253; i-- > 0;) { /* s and k are below 2^253 */
        bool has_s = (s[i / 32] >> (i % 32) & 1) != 0;
        bool has_k = (k[i / 32] >> (i % 32) & 1) != 0;
        add(&sum, &sum, &sum);
        if (has_s || has_k) {
            add(&sum, &sum, has_s && has_k ? &both : has_s ? &base : &minus_a);
        }
    }
    uint8_t encoded[32];
    encode(encoded, &sum);
    return memcmp(encoded, signature, sizeof encoded) == 0;
}
#else
typedef int af_ed25519_is_not_built; /* a file may not be empty */
#endif
