#include "af_cose.h"

#include <string.h>

/* The value of key 1: -7, -8, -35, -37, or any other number. */
static af_algorithm read_algorithm(af_reader *reader)
{
    af_reader ahead = *reader;
    int64_t number = af_integer(&ahead, INT64_MIN, INT64_MAX);
    bool has_number = !ahead.failed;
    af_skip_integer(reader); /* -2^64 is a number, too */
    if (has_number) {
        switch (number) {
        case -7: return AF_ES256;
        case -8: return AF_EDDSA;
        case -35: return AF_ES384;
        case -37: return AF_PS256;
        default: break;
        }
    }
    return AF_NO_ALGORITHM;
}

/* Any text: only the wanted one goes on. */
static af_bytes read_content_type(af_reader *reader)
{
    af_key(reader, 3);
    return af_unicode(reader, 0, AF_HEADER_MAX);
}

static void read_kid(af_reader *reader, af_bytes *kid)
{
    af_key(reader, 4);
    *kid = af_byte_string(reader, AF_KID_BYTES, AF_KID_BYTES);
}

/* A signature's length is its algorithm's; of an algorithm that is none of ours, one of the three. */
static void read_signature(af_reader *reader, af_cose_signature *signature)
{
    signature->signature = af_byte_string(reader, 64, 384);
    size_t size = signature->signature.size;
    bool is_right = signature->algorithm == AF_NO_ALGORITHM ? size == 64 || size == 96 || size == 384
                                                            : size == af_signature_bytes(signature->algorithm);
    if (!is_right) {
        af_fail(reader);
    }
}

static bool read_sign1(af_cose *cose, af_reader *message, af_bytes *content_type)
{
    af_reader header;
    af_cose_signature *signature = &cose->signatures[0];
    (void)af_array(message, 4, 4);
    cose->header = af_byte_string(message, 1, AF_HEADER_MAX);
    (void)af_map(message, 0, 0);
    cose->payload = af_byte_string(message, 0, SIZE_MAX);
    af_open(&header, cose->header);
    (void)af_map(&header, 3, 3);
    af_key(&header, 1);
    signature->algorithm = read_algorithm(&header);
    *content_type = read_content_type(&header);
    read_kid(&header, &signature->kid);
    read_signature(message, signature);
    cose->count = 1;
    return af_closed(&header) && af_closed(message);
}

static bool read_one_of_sign(af_cose_signature *signature, af_reader *message)
{
    af_reader header;
    (void)af_array(message, 3, 3);
    signature->header = af_byte_string(message, 1, AF_HEADER_MAX);
    (void)af_map(message, 0, 0);
    af_open(&header, signature->header);
    (void)af_map(&header, 2, 2);
    af_key(&header, 1);
    signature->algorithm = read_algorithm(&header);
    read_kid(&header, &signature->kid);
    read_signature(message, signature);
    return af_closed(&header) && !message->failed;
}

static bool read_sign(af_cose *cose, af_reader *message, af_bytes *content_type)
{
    af_reader header;
    (void)af_array(message, 4, 4);
    cose->header = af_byte_string(message, 1, AF_HEADER_MAX);
    (void)af_map(message, 0, 0);
    cose->payload = af_byte_string(message, 0, SIZE_MAX);
    af_open(&header, cose->header);
    (void)af_map(&header, 1, 1);
    *content_type = read_content_type(&header);
    size_t count = af_array(message, 1, AF_SIGNATURES_MAX);
    if (!af_closed(&header) || message->failed) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_one_of_sign(&cose->signatures[i], message)) {
            return false;
        }
    }
    cose->count = count;
    return af_closed(message);
}

/* Kids rise; two that are equal have a code of their own. */
static af_code judge_kids(const af_cose *cose)
{
    for (size_t i = 1; i < cose->count; i++) {
        int order = memcmp(cose->signatures[i - 1].kid.at, cose->signatures[i].kid.at, AF_KID_BYTES);
        if (order >= 0) {
            return order == 0 ? AF_SIGNED_TWICE : AF_SHAPE;
        }
    }
    return AF_OK;
}

af_code af_cose_read(af_cose *cose, af_bytes message, size_t most_bytes, const char *content_type)
{
    af_reader reader;
    af_bytes stated = {NULL, 0};
    memset(cose, 0, sizeof *cose);
    if (message.size == 0 || message.size > most_bytes) {
        return AF_LENGTH;
    }
    af_open(&reader, message);
    cose->is_sign1 = af_peek(&reader) == 0xd2;
    bool has_shape;
    if (cose->is_sign1) {
        af_literal(&reader, 0xd2);
        has_shape = read_sign1(cose, &reader, &stated);
    } else {
        af_literal(&reader, 0xd8);
        af_literal(&reader, 0x62);
        has_shape = read_sign(cose, &reader, &stated);
    }
    if (!has_shape) {
        return AF_SHAPE;
    }
    af_code code = judge_kids(cose);
    if (code != AF_OK) {
        return code;
    }
    return af_is_text(stated, content_type) ? AF_OK : AF_CONTENT_TYPE;
}

/* The head of a byte string, at most five bytes, in its shortest form. */
static af_bytes head_of(uint8_t head[5], size_t size)
{
    af_bytes result = {head, 0};
    if (size < 24) {
        head[result.size++] = (uint8_t)(0x40 | size);
    } else if (size < 0x100) {
        head[result.size++] = 0x58;
    } else if (size < 0x10000) {
        head[result.size++] = 0x59;
    } else {
        head[result.size++] = 0x5a;
        head[result.size++] = (uint8_t)(size >> 24);
        head[result.size++] = (uint8_t)(size >> 16);
    }
    if (size >= 0x100) {
        head[result.size++] = (uint8_t)(size >> 8);
    }
    if (size >= 24) {
        head[result.size++] = (uint8_t)size;
    }
    return result;
}

static void append(af_pieces *pieces, uint8_t head[5], af_bytes bytes)
{
    pieces->piece[pieces->count++] = head_of(head, bytes.size);
    pieces->piece[pieces->count++] = bytes;
}

af_code af_cose_verify(const af_cose *cose, size_t index, af_algorithm key_algorithm, af_bytes key_der,
                       af_bytes external)
{
    static const uint8_t sign1_start[] = "\x84\x6aSignature1";
    static const uint8_t sign_start[] = "\x85\x69Signature";
    uint8_t heads[4][5];
    const af_cose_signature *signature = &cose->signatures[index];
    af_pieces signed_bytes = {.piece = {{sign1_start, sizeof sign1_start - 1}}, .count = 1};
    if (signature->algorithm != key_algorithm) {
        return AF_ALGORITHM;
    }
    if (!cose->is_sign1) {
        signed_bytes.piece[0].at = sign_start;
        signed_bytes.piece[0].size = sizeof sign_start - 1;
    }
    append(&signed_bytes, heads[0], cose->header);
    if (!cose->is_sign1) {
        append(&signed_bytes, heads[1], signature->header);
    }
    append(&signed_bytes, heads[2], external);
    append(&signed_bytes, heads[3], cose->payload);
    return af_verify_signature(key_algorithm, key_der, &signed_bytes, signature->signature);
}
