/* For people: lines on standard output, trouble on standard error. All names are escaped. */
#ifndef CLI_REPORT_TEXT_H
#define CLI_REPORT_TEXT_H

#include "cli/reporter.h"

void report_text_init(struct reporter *r, struct output *out, const struct options *options, bool color);

/* Trouble on standard error; what the text report does with it. */
void report_text_trouble(const struct sos_trouble *t);

/* "2001-02-03T04:05:06.000000007Z" into out; returns out. */
char *report_text_time(char out[64], struct stamp t);

#endif
