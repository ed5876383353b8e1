/*
 * What contrib/bench measures with: makes its data, and is the plainest loop that
 * copies small files to two places, to compare with.
 *
 *   bench-loop make DIR OBJECTS DIRS BYTES_MAX    files of 1 to BYTES_MAX random bytes; DIRS 0: all in DIR itself
 *   bench-loop edit FILE EDITS BYTES SEED         EDITS times BYTES random bytes over what was there, each in a part of its own
 *   bench-loop copy FROM TO TO                    one thread for each TO: open, read, hash, create, write, rename
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define PATH_SIZE 4096
#define OBJECT_MAX 65536

static void die(const char *what)
{
    fprintf(stderr, "bench-loop: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void write_all(int fd, const char *data, size_t n, const char *path)
{
    while (n > 0) {
        ssize_t done = write(fd, data, n);

        if (done < 0)
            die(path);
        data += done;
        n -= (size_t)done;
    }
}

/* ---- make ---- */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The same arguments give the same files. */
static void make(const char *dir, unsigned long objects, unsigned long dirs, size_t bytes_max)
{
    static uint64_t data[OBJECT_MAX / 8];
    uint64_t state = 88172645463325252u;
    char path[PATH_SIZE];

    for (unsigned long d = 0; d < dirs; d++) {
        snprintf(path, sizeof(path), "%s/d%04lu", dir, d);
        if (mkdir(path, 0755) != 0)
            die(path);
    }
    for (unsigned long i = 0; i < objects; i++) {
        size_t size = 1 + (size_t)(next_random(&state) % bytes_max);
        int fd;

        for (size_t w = 0; w < (size + 7) / 8; w++)
            data[w] = next_random(&state);
        if (dirs > 0)
            snprintf(path, sizeof(path), "%s/d%04lu/object-%07lu", dir, i % dirs, i);
        else
            snprintf(path, sizeof(path), "%s/object-%07lu", dir, i);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (fd < 0)
            die(path);
        write_all(fd, (const char *)data, size, path);
        close(fd);
    }
}

/* ---- edit ---- */

/* Another seed gives other places and bytes. */
static void edit(const char *file, unsigned long edits, size_t bytes, uint64_t seed)
{
    static uint64_t data[OBJECT_MAX / 8];
    uint64_t state = 88172645463325252u + seed, part;
    int fd = open(file, O_RDWR);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        die(file);
    part = (uint64_t)st.st_size / edits;
    if (part < bytes) {
        errno = EINVAL;
        die("too much to edit");
    }
    for (unsigned long i = 0; i < edits; i++) {
        uint64_t at = i * part + next_random(&state) % (part - bytes + 1);

        for (size_t w = 0; w < (bytes + 7) / 8; w++)
            data[w] = next_random(&state);
        if (lseek(fd, (off_t)at, SEEK_SET) < 0)
            die(file);
        write_all(fd, (const char *)data, bytes, file);
    }
    close(fd);
}

/* ---- copy ---- */

struct job {
    const char *from, *to;
    uint64_t sum; /* keeps the hashing from being left out */
};

static void copy_file(struct job *job, const char *from, const char *to, char *data)
{
    char temp[PATH_SIZE + 8];
    struct stat st;
    ssize_t n;
    int in = open(from, O_RDONLY), out;

    if (in < 0 || fstat(in, &st) != 0)
        die(from);
    snprintf(temp, sizeof(temp), "%s.tmp", to);
    out = open(temp, O_WRONLY | O_CREAT | O_EXCL, st.st_mode & 0777);
    if (out < 0)
        die(temp);
    while ((n = read(in, data, OBJECT_MAX)) > 0) {
        job->sum += XXH3_128bits(data, (size_t)n).low64;
        write_all(out, data, (size_t)n, temp);
    }
    if (n < 0)
        die(from);
    futimens(out, (struct timespec[]){st.st_atim, st.st_mtim});
    close(in);
    close(out);
    if (rename(temp, to) != 0)
        die(to);
}

static void copy_dir(struct job *job, const char *from, const char *to, char *data)
{
    char a[PATH_SIZE], b[PATH_SIZE];
    struct dirent *d;
    DIR *dir = opendir(from);

    if (dir == NULL || (mkdir(to, 0755) != 0 && errno != EEXIST))
        die(from);
    while ((d = readdir(dir)) != NULL) {
        if (d->d_name[0] == '.')
            continue;
        if ((size_t)snprintf(a, sizeof(a), "%s/%s", from, d->d_name) >= sizeof(a) ||
            (size_t)snprintf(b, sizeof(b), "%s/%s", to, d->d_name) >= sizeof(b)) {
            errno = ENAMETOOLONG;
            die(from);
        }
        if (d->d_type == DT_DIR)
            copy_dir(job, a, b, data);
        else if (d->d_type == DT_REG)
            copy_file(job, a, b, data);
    }
    closedir(dir);
}

static void *copy(void *arg)
{
    struct job *job = arg;
    char *data = malloc(OBJECT_MAX);

    if (data == NULL)
        die("memory");
    copy_dir(job, job->from, job->to, data);
    free(data);
    return NULL;
}

static void copy_twice(const char *from, const char *to1, const char *to2)
{
    struct job job[2] = {{from, to1, 0}, {from, to2, 0}};
    pthread_t thread[2];

    for (int i = 0; i < 2; i++)
        if (pthread_create(&thread[i], NULL, copy, &job[i]) != 0)
            die("thread");
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    if (job[0].sum != job[1].sum) {
        fprintf(stderr, "bench-loop: the two copies differ\n");
        exit(1);
    }
}

static unsigned long number(const char *text)
{
    return strtoul(text, NULL, 10);
}

static size_t object_size(const char *text)
{
    unsigned long bytes = number(text);

    if (bytes == 0 || bytes > OBJECT_MAX) {
        errno = EINVAL;
        die(text);
    }
    return bytes;
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "make") == 0) {
        make(argv[2], number(argv[3]), number(argv[4]), object_size(argv[5]));
    } else if (argc == 6 && strcmp(argv[1], "edit") == 0 && number(argv[3]) > 0) {
        edit(argv[2], number(argv[3]), object_size(argv[4]), number(argv[5]));
    } else if (argc == 5 && strcmp(argv[1], "copy") == 0) {
        copy_twice(argv[2], argv[3], argv[4]);
    } else {
        fprintf(stderr, "usage: bench-loop make DIR OBJECTS DIRS BYTES_MAX | edit FILE EDITS BYTES SEED | copy FROM TO TO\n");
        return 1;
    }
    return 0;
}
