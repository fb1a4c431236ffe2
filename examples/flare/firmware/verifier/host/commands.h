/* What the host programs can be asked: each command reads its words and prints one JSON object. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include <stdio.h>

#include "fields.h"

/* 0 accepted (or nothing to do), 3 refused, 2 the case itself is wrong. */
int run_command(const char *command, fields *words, FILE *out);

extern const char commands_help[];

#endif
