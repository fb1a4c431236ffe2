/* The waveform slot image and the table in it (docs/spec/waveform-table.md 2 to 7). */
#ifndef AF_TABLE_H
#define AF_TABLE_H

#include "af_crypto.h"

enum { AF_SLOT_MAX = 65536, AF_TABLE_MAX = 61440, AF_APPROVAL_MAX = 4080 };

typedef struct {
    af_bytes table;
    af_bytes approval;
} af_slot;

/* What an update needs of a table that was read whole. */
typedef struct {
    uint32_t policy_version;
    uint8_t policy_digest[AF_DIGEST_BYTES];
    af_bytes hardware_class;
    uint32_t peak_na; /* the highest peak of any level, at most 2^31-1 */
} af_table;

/* Splits a slot image; nothing in it is verified. AF_OK or AF_SLOT. */
af_code af_slot_read(af_slot *slot, af_bytes image);

/* Reads a table and everything it has to hold. AF_OK, AF_TABLE, AF_TABLE_DIGEST or AF_NO_MEMORY. */
af_code af_table_read(af_table *table, af_bytes bytes);

#endif
