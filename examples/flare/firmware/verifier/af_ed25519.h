/* Verifying Ed25519 (RFC 8032 5.1.7): mbedTLS has no such call. */
#ifndef AF_ED25519_H
#define AF_ED25519_H

#include "af_crypto.h"

/* Whether [S]B = R + [k]A, without the cofactor; `signature` is 64 bytes.
 *
 * Public values only go in, so it need not take the same time for each, and does not. */
bool af_ed25519_verify(const uint8_t key[32], const af_pieces *message, const uint8_t signature[64]);

#endif
