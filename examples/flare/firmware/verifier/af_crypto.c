#include "af_crypto.h"

#include <string.h>

#include <mbedtls/ecdsa.h>
#include <mbedtls/ecp.h>
#include <mbedtls/sha256.h>
#include <mbedtls/version.h>

#if AF_WITH_EDDSA
#include "af_ed25519.h"
#endif
#if AF_WITH_EDDSA || AF_WITH_ES384
#include <mbedtls/sha512.h>
#endif
#if AF_WITH_PS256
#include <mbedtls/rsa.h>
#endif

/* mbedTLS 2.28 (Debian, ESP-IDF 4.4) spells the checked calls with `_ret`, 3.x without. */
#if MBEDTLS_VERSION_NUMBER < 0x03000000
#define mbedtls_sha256_starts mbedtls_sha256_starts_ret
#define mbedtls_sha256_update mbedtls_sha256_update_ret
#define mbedtls_sha256_finish mbedtls_sha256_finish_ret
#define mbedtls_sha512_starts mbedtls_sha512_starts_ret
#define mbedtls_sha512_update mbedtls_sha512_update_ret
#define mbedtls_sha512_finish mbedtls_sha512_finish_ret
#endif

static const uint8_t p256_prefix[] = {
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
    0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
static const uint8_t ed25519_prefix[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
static const uint8_t p384_prefix[] = {
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04};
static const uint8_t rsa_prefix[] = {
    0x30, 0x82, 0x01, 0xa2, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x82, 0x01, 0x8f, 0x00, 0x30, 0x82, 0x01, 0x8a, 0x02, 0x82, 0x01, 0x81, 0x00};
static const uint8_t rsa_suffix[] = {0x02, 0x03, 0x01, 0x00, 0x01};

enum { P256_DER = 91, ED25519_DER = 44, P384_DER = 120, RSA_DER = 422, RSA_MODULUS = 384 };

static bool begins(af_bytes der, const uint8_t *prefix, size_t size)
{
    return der.size >= size && memcmp(der.at, prefix, size) == 0;
}

bool af_sha256(const af_pieces *pieces, uint8_t digest[AF_DIGEST_BYTES])
{
    mbedtls_sha256_context context;
    mbedtls_sha256_init(&context);
    int failed = mbedtls_sha256_starts(&context, 0);
    for (size_t i = 0; i < pieces->count && failed == 0; i++) {
        if (pieces->piece[i].size != 0) {
            failed = mbedtls_sha256_update(&context, pieces->piece[i].at, pieces->piece[i].size);
        }
    }
    if (failed == 0) {
        failed = mbedtls_sha256_finish(&context, digest);
    }
    mbedtls_sha256_free(&context);
    return failed == 0;
}

#if AF_WITH_EDDSA || AF_WITH_ES384
bool af_sha512(const af_pieces *pieces, bool is_384, uint8_t digest[64])
{
    mbedtls_sha512_context context;
    mbedtls_sha512_init(&context);
    int failed = mbedtls_sha512_starts(&context, is_384);
    for (size_t i = 0; i < pieces->count && failed == 0; i++) {
        if (pieces->piece[i].size != 0) {
            failed = mbedtls_sha512_update(&context, pieces->piece[i].at, pieces->piece[i].size);
        }
    }
    if (failed == 0) {
        failed = mbedtls_sha512_finish(&context, digest);
    }
    mbedtls_sha512_free(&context);
    return failed == 0;
}
#endif

bool af_sha256_of(af_bytes bytes, uint8_t digest[AF_DIGEST_BYTES])
{
    af_pieces pieces = {.piece = {bytes}, .count = 1};
    return af_sha256(&pieces, digest);
}

size_t af_signature_bytes(af_algorithm algorithm)
{
    static const uint16_t sizes[] = {64, 64, 96, 384};
    return algorithm < AF_NO_ALGORITHM ? sizes[algorithm] : 0;
}

bool af_is_built(af_algorithm algorithm)
{
    switch (algorithm) {
    case AF_ES256: return true;
    case AF_EDDSA: return AF_WITH_EDDSA;
    case AF_ES384: return AF_WITH_ES384;
    case AF_PS256: return AF_WITH_PS256;
    case AF_NO_ALGORITHM: break;
    }
    return false;
}

static bool is_memory(int error)
{
    return error == MBEDTLS_ERR_MPI_ALLOC_FAILED || error == MBEDTLS_ERR_ECP_ALLOC_FAILED;
}

/* Loads the curve and the key's point, which has to lie on it. */
static int load_point(mbedtls_ecp_group *curve, mbedtls_ecp_point *point, mbedtls_ecp_group_id id, af_bytes der)
{
    size_t point_bytes = id == MBEDTLS_ECP_DP_SECP256R1 ? 65 : 97;
    int error = mbedtls_ecp_group_load(curve, id);
    if (error == 0) {
        error = mbedtls_ecp_point_read_binary(curve, point, der.at + der.size - point_bytes, point_bytes);
    }
    return error != 0 ? error : mbedtls_ecp_check_pubkey(curve, point);
}

static bool is_on_curve(mbedtls_ecp_group_id id, af_bytes der)
{
    mbedtls_ecp_group curve;
    mbedtls_ecp_point point;
    mbedtls_ecp_group_init(&curve);
    mbedtls_ecp_point_init(&point);
    int error = load_point(&curve, &point, id, der);
    mbedtls_ecp_point_free(&point);
    mbedtls_ecp_group_free(&curve);
    return error == 0;
}

/* Whether an Ed25519 key's y is below 2^255-19: a larger one would be a second name of the same key. */
static bool is_reduced(const uint8_t key[32])
{
    uint8_t middle = 0xff;
    for (size_t i = 1; i < 31; i++) {
        middle &= key[i];
    }
    return key[0] < 0xed || middle != 0xff || (key[31] & 0x7f) != 0x7f;
}

af_algorithm af_key_algorithm(af_bytes der)
{
    if (der.size == P256_DER && begins(der, p256_prefix, sizeof p256_prefix)) {
        return is_on_curve(MBEDTLS_ECP_DP_SECP256R1, der) ? AF_ES256 : AF_NO_ALGORITHM;
    }
    if (der.size == ED25519_DER && begins(der, ed25519_prefix, sizeof ed25519_prefix)) {
        return is_reduced(der.at + sizeof ed25519_prefix) ? AF_EDDSA : AF_NO_ALGORITHM;
    }
    if (der.size == P384_DER && begins(der, p384_prefix, sizeof p384_prefix)) {
#if AF_WITH_ES384
        return is_on_curve(MBEDTLS_ECP_DP_SECP384R1, der) ? AF_ES384 : AF_NO_ALGORITHM;
#else
        return AF_ES384; /* it counts for nothing here: this build verifies nothing by it */
#endif
    }
    if (der.size == RSA_DER && begins(der, rsa_prefix, sizeof rsa_prefix)) {
        const uint8_t *modulus = der.at + sizeof rsa_prefix;
        bool is_whole = (modulus[0] & 0x80) != 0 && (modulus[RSA_MODULUS - 1] & 1) != 0;
        bool is_ended = memcmp(modulus + RSA_MODULUS, rsa_suffix, sizeof rsa_suffix) == 0;
        return is_whole && is_ended ? AF_PS256 : AF_NO_ALGORITHM;
    }
    return AF_NO_ALGORITHM;
}

static af_code verify_ecdsa(mbedtls_ecp_group_id id, af_bytes der, const uint8_t *digest, size_t digest_bytes,
                            af_bytes signature)
{
    mbedtls_ecp_group curve;
    mbedtls_ecp_point point;
    mbedtls_mpi r;
    mbedtls_mpi s;
    mbedtls_ecp_group_init(&curve);
    mbedtls_ecp_point_init(&point);
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    size_t half = signature.size / 2;
    int error = load_point(&curve, &point, id, der);
    if (error == 0) {
        error = mbedtls_mpi_read_binary(&r, signature.at, half);
    }
    if (error == 0) {
        error = mbedtls_mpi_read_binary(&s, signature.at + half, half);
    }
    if (error == 0) { /* refuses r and s outside of 1 ... n-1 */
        error = mbedtls_ecdsa_verify(&curve, digest, digest_bytes, &point, &r, &s);
    }
    mbedtls_mpi_free(&s);
    mbedtls_mpi_free(&r);
    mbedtls_ecp_point_free(&point);
    mbedtls_ecp_group_free(&curve);
    return error == 0 ? AF_OK : is_memory(error) ? AF_NO_MEMORY : AF_SIGNATURE;
}

#if AF_WITH_PS256
static af_code verify_pss(af_bytes der, const uint8_t digest[AF_DIGEST_BYTES], af_bytes signature)
{
    mbedtls_rsa_context rsa;
#if MBEDTLS_VERSION_NUMBER < 0x03000000
    mbedtls_rsa_init(&rsa, MBEDTLS_RSA_PKCS_V21, MBEDTLS_MD_SHA256);
    int error = 0;
#else
    mbedtls_rsa_init(&rsa);
    int error = mbedtls_rsa_set_padding(&rsa, MBEDTLS_RSA_PKCS_V21, MBEDTLS_MD_SHA256);
#endif
    const uint8_t *modulus = der.at + sizeof rsa_prefix;
    if (error == 0) {
        error = mbedtls_rsa_import_raw(&rsa, modulus, RSA_MODULUS, NULL, 0, NULL, 0, NULL, 0, rsa_suffix + 2, 3);
    }
    if (error == 0) {
        error = mbedtls_rsa_complete(&rsa);
    }
    if (error == 0) {
        error = mbedtls_rsa_rsassa_pss_verify_ext(&rsa,
#if MBEDTLS_VERSION_NUMBER < 0x03000000
                                                  NULL, NULL, MBEDTLS_RSA_PUBLIC,
#endif
                                                  MBEDTLS_MD_SHA256, AF_DIGEST_BYTES, digest, MBEDTLS_MD_SHA256,
                                                  AF_DIGEST_BYTES, signature.at);
    }
    mbedtls_rsa_free(&rsa);
    bool is_out = is_memory(error) || is_memory(error - MBEDTLS_ERR_RSA_PUBLIC_FAILED);
    return error == 0 ? AF_OK : is_out ? AF_NO_MEMORY : AF_SIGNATURE;
}
#endif

af_code af_verify_signature(af_algorithm algorithm, af_bytes der, const af_pieces *message, af_bytes signature)
{
    uint8_t digest[64];
    if (!af_is_built(algorithm)) {
        return AF_ALGORITHM_NOT_BUILT;
    }
    if (signature.size != af_signature_bytes(algorithm)) {
        return AF_SIGNATURE;
    }
#if AF_WITH_EDDSA
    if (algorithm == AF_EDDSA) {
        return af_ed25519_verify(der.at + sizeof ed25519_prefix, message, signature.at) ? AF_OK : AF_SIGNATURE;
    }
#endif
#if AF_WITH_ES384
    if (algorithm == AF_ES384) {
        return af_sha512(message, true, digest) ? verify_ecdsa(MBEDTLS_ECP_DP_SECP384R1, der, digest, 48, signature)
                                       : AF_NO_MEMORY;
    }
#endif
    if (!af_sha256(message, digest)) {
        return AF_NO_MEMORY;
    }
#if AF_WITH_PS256
    if (algorithm == AF_PS256) {
        return verify_pss(der, digest, signature);
    }
#endif
    return verify_ecdsa(MBEDTLS_ECP_DP_SECP256R1, der, digest, AF_DIGEST_BYTES, signature);
}
