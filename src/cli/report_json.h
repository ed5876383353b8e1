/* For programs: one JSON object a line on standard output. The one file that knows jansson. */
#ifndef CLI_REPORT_JSON_H
#define CLI_REPORT_JSON_H

#include "cli/reporter.h"

void report_json_init(struct reporter *r, struct output *out, const struct options *options);

#endif
