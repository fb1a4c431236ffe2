#include "commands.h"

#include <string.h>

#include "answers.h"

const char commands_help[] =
    "usage: verifier-cli COMMAND NAME=VALUE...      one case; its verdict as one line of JSON\n"
    "       verifier-cli batch                      one case a line on standard input\n"
    "\n"
    "Bytes are hexadecimal, or @FILE. Exit: 0 accepted or nothing to do, 3 refused, 2 usage.\n"
    "\n"
    "trust        message [current]          a trust record, alone or after another one\n"
    "message      trust role type message [most]      any signed message\n"
    "cose         keys threshold type message [external] [most]      keys: DER one after the other\n"
    "manifest | assignment | freshness       trust message\n"
    "select       trust message serial       whether an assignment selects a device\n"
    "request      nonce class                the body of a freshness request\n"
    "slot         image                      table  bytes           approval  trust message\n"
    "accept       trust image class          the table of a slot for a hardware class\n"
    "calibration  payload                    ed25519  key message signature\n"
    "update       trust class serial assignment [manifest [freshness nonce [slot calibration]]]\n"
    "             [revision counter assignment-sequence freshness-sequence policy-version secure-version\n"
    "             app-partition slot-partition running-app running-slot given-up]\n"
    "\n"
    "example: verifier-cli manifest trust=@trust-record.cose message=@manifest.cose\n";

static const struct {
    const char *name;
    int (*run)(fields *words, FILE *out);
} commands[] = {
    {"accept", run_accept},
    {"approval", run_approval},
    {"assignment", run_assignment},
    {"calibration", run_calibration},
    {"cose", run_cose},
    {"ed25519", run_ed25519},
    {"freshness", run_freshness},
    {"manifest", run_manifest},
    {"message", run_message},
    {"request", run_request},
    {"select", run_select},
    {"slot", run_slot},
    {"table", run_table},
    {"trust", run_trust},
    {"update", run_update},
};

int run_command(const char *command, fields *words, FILE *out)
{
    int exit_code = 2;
    words->wrong = "there is no such command";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(command, commands[i].name) == 0) {
            words->wrong = NULL;
            exit_code = commands[i].run(words, out);
        }
    }
    if (exit_code != 2) {
        (void)fputs("}\n", out);
    }
    return words->wrong != NULL ? 2 : exit_code;
}
