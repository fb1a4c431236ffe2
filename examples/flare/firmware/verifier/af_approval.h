/* The policy role's approval of one table (docs/spec/policy-and-approval.md 5 and 6), and the span
 * of current that was verified on this unit (docs/spec/calibration-record.md 1 and 4). */
#ifndef AF_APPROVAL_H
#define AF_APPROVAL_H

#include "af_table.h"
#include "af_trust.h"

typedef struct {
    uint8_t table_digest[AF_DIGEST_BYTES];
    uint8_t policy_digest[AF_DIGEST_BYTES];
    uint32_t policy_version;
    af_bytes hardware_class;
    uint64_t waivers_expire_s; /* 0 without waivers */
} af_approval;

/* What a calibration record says that an update needs. */
typedef struct {
    af_bytes serial_number;
    uint8_t mac[6];
    int32_t lowest_na;
    int32_t highest_na;
} af_calibration;

/* Verifies an approval by the policy role and reads it. */
af_code af_approval_read(af_approval *approval, const af_trust *trust, af_bytes message);

/* Section 6 for the table and approval of a slot, on a board of a hardware class; gives both. */
af_code af_table_accept(af_table *table, af_approval *approval, const af_trust *trust, const af_slot *slot,
                        af_bytes hardware_class);

/* Reads the payload of a calibration record. Its signature was verified when the record was written
 * (trust.md 8) and is not looked at here. AF_OK or AF_CALIBRATION. */
af_code af_calibration_read(af_calibration *calibration, af_bytes payload);

#endif
