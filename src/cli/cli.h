/* The program: reads the command line, finds the command, runs it. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/* Returns the exit status (enum sos_status). */
int cli_main(int argc, char **argv);

#endif
