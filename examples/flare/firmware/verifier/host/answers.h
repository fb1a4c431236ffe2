/* How the commands of the host programs answer, and what they are. Not for firmware. */
#ifndef ANSWERS_H
#define ANSWERS_H

#include <stdio.h>

#include "../af_update.h"
#include "fields.h"

/* Begins the answer: which step, and its code. The exit code: 0 accepted or nothing to do, 3 refused. */
int print_code(FILE *out, const char *step, af_code code);
void print_hexadecimal(FILE *out, const char *name, const uint8_t *at, size_t size);
void print_number(FILE *out, const char *name, long long number);

/* Reads the word `trust`. */
af_code read_trust(af_trust *trust, fields *words);

/* The commands, by the names in commands.c. */
int run_accept(fields *words, FILE *out);
int run_approval(fields *words, FILE *out);
int run_assignment(fields *words, FILE *out);
int run_calibration(fields *words, FILE *out);
int run_cose(fields *words, FILE *out);
int run_ed25519(fields *words, FILE *out);
int run_freshness(fields *words, FILE *out);
int run_manifest(fields *words, FILE *out);
int run_message(fields *words, FILE *out);
int run_request(fields *words, FILE *out);
int run_select(fields *words, FILE *out);
int run_slot(fields *words, FILE *out);
int run_table(fields *words, FILE *out);
int run_trust(fields *words, FILE *out);
int run_update(fields *words, FILE *out);

#endif
