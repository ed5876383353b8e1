/*
 * The main of a fuzz target where libFuzzer is not at work: feeds it the files named on
 * the command line, or in the directories named there, and the empty input before all.
 * Speaks TAP. Each input has a process of its own, so that a crash or a hang is one
 * failed test and the rest still run.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS_MAX 20 /* for one input, also under a sanitizer */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct inputs {
    char **path;
    size_t n;
};

static void die(const char *what)
{
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(1);
}

static void add(struct inputs *in, const char *path)
{
    char **more = realloc(in->path, (in->n + 1) * sizeof(*more));

    if (more == NULL)
        die("memory");
    in->path = more;
    in->path[in->n] = strdup(path);
    if (in->path[in->n++] == NULL)
        die("memory");
}

static void add_dir(struct inputs *in, const char *dir)
{
    struct dirent **name;
    int n = scandir(dir, &name, NULL, alphasort);

    if (n < 0)
        die(dir);
    for (int i = 0; i < n; i++) {
        char *path;

        if (asprintf(&path, "%s/%s", dir, name[i]->d_name) < 0)
            die("memory");
        if (name[i]->d_name[0] != '.')
            add(in, path);
        free(path);
        free(name[i]);
    }
    free(name);
}

/* Exactly as large as the input, so that a sanitizer sees a read past its end. NULL path: the empty input. */
static uint8_t *slurp(const char *path, size_t *size)
{
    struct stat st;
    uint8_t *data;
    FILE *f;

    *size = 0;
    if (path == NULL)
        return malloc(0);
    f = fopen(path, "rb");
    if (f == NULL || fstat(fileno(f), &st) != 0)
        die(path);
    *size = (size_t)st.st_size;
    data = malloc(*size);
    if ((data == NULL && *size > 0) || fread(data, 1, *size, f) != *size)
        die(path);
    fclose(f);
    return data;
}

/* The wait status of a process that met this input. */
static int meet(const char *path)
{
    pid_t pid;
    int status;

    fflush(stdout);
    pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        size_t size;
        uint8_t *data = slurp(path, &size);

        alarm(SECONDS_MAX);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
        exit(0); /* and not _exit: leaks are looked for at exit */
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            die("waitpid");
    return status;
}

static void report(size_t number, const char *path, int status)
{
    printf("%sok %zu - %s\n", status == 0 ? "" : "not ", number, path == NULL ? "the empty input" : path);
    if (WIFSIGNALED(status))
        printf("# killed by signal %d%s\n", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ", too slow" : "");
    else if (status != 0)
        printf("# exit status %d\n", WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
    struct inputs in = {NULL, 0};
    size_t failed = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) != 0)
            die(argv[i]);
        if (S_ISDIR(st.st_mode))
            add_dir(&in, argv[i]);
        else
            add(&in, argv[i]);
    }
    if (in.n == 0) {
        printf("1..1\nnot ok 1 - no input, the corpus is empty\n");
        return 1;
    }
    printf("1..%zu\n", in.n + 1);
    for (size_t i = 0; i <= in.n; i++) {
        const char *path = i == 0 ? NULL : in.path[i - 1];
        int status = meet(path);

        report(i + 1, path, status);
        failed += status != 0;
    }
    for (size_t i = 0; i < in.n; i++)
        free(in.path[i]);
    free(in.path);
    return failed > 0;
}
