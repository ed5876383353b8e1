#include "store/scan_hash.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rate.h"
#include "base/thread.h"
#include "store/scan_judge.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BUF_SIZE (256u << 10)
_Static_assert(RECALL_LARGEST <= BUF_SIZE, "what can be recalled is in the buffer as a whole");
#define LARGE (1u << 20)   /* from here on the kernel is told that we read it all */
#define THREADS_MAX 64u
#define WAIT_NS 200000000L /* how long the caller waits for workers before he ticks */

/* One thread's own things. */
struct hasher {
    struct scan_pool *pool;
    struct digest_state *state, *other; /* other: NULL until a file is wanted by both hashes */
    char *buf;
    scan_tick *tick; /* NULL but for the caller's */
};

struct scan_pool {
    enum digest_algo algo;
    unsigned wanted, started; /* threads besides the caller */
    pthread_t *thread;
    struct recall *recall; /* NULL: none */
    void *ctx;
    struct hasher own;
    int ticked; /* what tick returned when it asked to stop */

    pthread_mutex_t lock; /* over the next five */
    pthread_cond_t work, idle;
    struct scan_job *job;
    size_t jobs;
    unsigned run, busy; /* run: counts the calls, so that each worker joins each once */
    bool quit;

    pthread_mutex_t rate_lock; /* over the next one */
    struct rate rate;

    atomic_size_t next;
    atomic_bool stop;
    atomic_uint_fast64_t bytes;
};

static void hasher_init(struct hasher *h, struct scan_pool *pool, scan_tick *tick)
{
    *h = (struct hasher){pool, digest_new(), NULL, mem_alloc(BUF_SIZE), tick};
}

static void hasher_end(struct hasher *h)
{
    digest_free(h->state);
    digest_free(h->other);
    free(h->buf);
}

static bool stopped(const struct scan_pool *p)
{
    return atomic_load_explicit(&p->stop, memory_order_relaxed);
}

static int tick(struct hasher *h)
{
    struct scan_pool *p = h->pool;
    if (!h->tick || stopped(p))
        return 0;
    p->ticked = h->tick(p->ctx, atomic_load_explicit(&p->bytes, memory_order_relaxed));
    if (p->ticked < 0)
        atomic_store(&p->stop, true);
    return p->ticked;
}

/* Counts n more bytes as read. How long whoever wants to read on has to wait, in ms. */
static int rate_after(struct scan_pool *p, size_t n)
{
    pthread_mutex_lock(&p->rate_lock);
    rate_take(&p->rate, n);
    int ms = rate_room(&p->rate, clock_mono_ms()) ? 0 : rate_wait_ms(&p->rate);
    pthread_mutex_unlock(&p->rate_lock);
    return ms;
}

/* What was read is paid for before anything else is; the caller's thread says meanwhile that we are alive. */
static void keep_to_rate(struct hasher *h, size_t n)
{
    struct scan_pool *p = h->pool;
    for (int ms = rate_after(p, n); ms > 0 && !stopped(p); ms = rate_after(p, 0)) {
        const long ns = ms * 1000000L < WAIT_NS ? ms * 1000000L : WAIT_NS;
        nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
        tick(h);
    }
}

/* Is that enough? */
static bool after_read(struct hasher *h, size_t n)
{
    atomic_fetch_add_explicit(&h->pool->bytes, n, memory_order_relaxed);
    tick(h);
    if (h->pool->rate.per_second)
        keep_to_rate(h, n);
    return stopped(h->pool);
}

static int read_large(struct hasher *h, int fd, struct scan_job *job, uint64_t *size)
{
    ssize_t n;
    digest_begin(h->state, h->pool->algo);
    if (job->rehash)
        digest_begin(h->other, digest_other(h->pool->algo));
    while ((n = file_read(fd, h->buf, BUF_SIZE)) > 0) {
        digest_add(h->state, h->buf, (size_t)n);
        if (job->rehash)
            digest_add(h->other, h->buf, (size_t)n);
        *size += (uint64_t)n;
        if (after_read(h, (size_t)n) || *size > job->seen->size)
            break;
    }
    if (n < 0)
        return -1;
    job->seen->digest = digest_end(h->state);
    if (job->rehash)
        job->other = digest_end(h->other);
    return 0;
}

/* Reads what seen promises; that there is not more is for the second look to find. */
static int read_content(struct hasher *h, int fd, struct scan_job *job, uint64_t *size)
{
    struct entry *seen = job->seen;
    *size = 0;
    if (job->rehash && !h->other)
        h->other = digest_new();
    if (seen->size > BUF_SIZE) {
        if (seen->size >= LARGE)
            posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        return read_large(h, fd, job, size);
    }
    ssize_t n = seen->size ? file_read(fd, h->buf, seen->size) : 0;
    if (n < 0)
        return -1;
    *size = (uint64_t)n;
    seen->digest = digest_whole(h->state, h->pool->algo, h->buf, (size_t)n);
    if (job->rehash)
        job->other = digest_whole(h->other, digest_other(h->pool->algo), h->buf, (size_t)n);
    after_read(h, (size_t)n);
    return 0;
}

/*
 * What the walk saw has to be what is there after the read: that makes a look before it superfluous, but for another try
 * (look_again). SCAN_UNSTEADY leaves in seen what the file was before it changed.
 */
static enum scan_outcome hash_open(struct hasher *h, int fd, bool look_again, struct scan_job *job)
{
    struct entry *seen = job->seen;
    struct stat st;
    struct entry look;
    uint64_t size;
    if (look_again) {
        if (fstat(fd, &st) < 0)
            goto fail;
        if (!S_ISREG(st.st_mode))
            return SCAN_UNSTEADY;
        scan_judge_stat(seen, &st);
    }
    if (read_content(h, fd, job, &size) < 0 || fstat(fd, &st) < 0)
        goto fail;
    scan_judge_stat(&look, &st);
    bool steady = scan_judge_same(seen, &look) && size == seen->size && st.st_nlink > 0;
    return steady ? SCAN_HASHED : SCAN_UNSTEADY;
fail:
    job->sys = errno;
    return SCAN_UNREADABLE;
}

static void hash_job(struct hasher *h, struct scan_job *job)
{
    for (int tries = 0; tries < 2; tries++) {
        int fd = openat(job->dir, job->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0) {
            job->sys = errno;
            bool other = errno == ELOOP || errno == ENXIO || errno == ENODEV;
            job->outcome = errno == ENOENT ? SCAN_GONE : other ? SCAN_UNSTEADY : SCAN_UNREADABLE;
            return;
        }
        job->outcome = hash_open(h, fd, tries > 0, job);
        close(fd);
        if (job->outcome == SCAN_HASHED && h->pool->recall && job->seen->size <= RECALL_LARGEST)
            recall_put(h->pool->recall, &job->seen->digest, h->buf, (size_t)job->seen->size);
        if (job->outcome != SCAN_UNSTEADY)
            return;
    }
}

static void take_turns(struct hasher *h, struct scan_job *job, size_t jobs)
{
    struct scan_pool *p = h->pool;
    size_t i;
    while ((i = atomic_fetch_add(&p->next, 1)) < jobs && !stopped(p))
        hash_job(h, &job[i]);
}

static void *worker(void *arg)
{
    struct scan_pool *p = arg;
    struct hasher h;
    unsigned seen = 0;
    hasher_init(&h, p, NULL);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->run == seen && !p->quit)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->quit)
            break;
        seen = p->run;
        struct scan_job *job = p->job;
        size_t jobs = p->jobs;
        pthread_mutex_unlock(&p->lock);
        take_turns(&h, job, jobs);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0)
            pthread_cond_signal(&p->idle);
    }
    pthread_mutex_unlock(&p->lock);
    hasher_end(&h);
    return NULL;
}

/* Fewer threads than wanted are no failure. */
static void start(struct scan_pool *p)
{
    p->thread = mem_alloc(p->wanted * sizeof *p->thread);
    while (p->started < p->wanted && thread_start(&p->thread[p->started], worker, p))
        p->started++;
    p->wanted = p->started;
}

static void wait_idle(struct scan_pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->busy > 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WAIT_NS;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&p->idle, &p->lock, &until);
        pthread_mutex_unlock(&p->lock);
        tick(&p->own);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

struct scan_pool *scan_hash_new(enum digest_algo algo, unsigned threads, uint64_t rate, struct recall *recall, scan_tick *ticker,
                                void *ctx)
{
    struct scan_pool *p = mem_zalloc(sizeof *p);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (threads == 0)
        threads = cores > 0 ? (unsigned)cores : 1;
    p->wanted = (threads < THREADS_MAX ? threads : THREADS_MAX) - 1;
    p->algo = algo;
    p->ctx = ctx;
    p->recall = recall;
    rate_init(&p->rate, rate, clock_mono_ms());
    pthread_mutex_init(&p->rate_lock, NULL);
    hasher_init(&p->own, p, ticker);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, &attr);
    pthread_condattr_destroy(&attr);
    return p;
}

void scan_hash_free(struct scan_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true); /* somebody may have begun */
    pthread_mutex_lock(&p->lock);
    p->quit = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->started; i++)
        pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->idle);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->rate_lock);
    hasher_end(&p->own);
    free(p->thread);
    free(p);
}

void scan_hash_begin(struct scan_pool *p, struct scan_job *job, size_t jobs)
{
    if (jobs > 1 && p->started < p->wanted)
        start(p);
    atomic_store(&p->next, 0);
    pthread_mutex_lock(&p->lock);
    p->job = job;
    p->jobs = jobs;
    if (jobs > 1 && p->started > 0) {
        p->busy = p->started;
        p->run++;
        pthread_cond_broadcast(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
}

int scan_hash_finish(struct scan_pool *p)
{
    take_turns(&p->own, p->job, p->jobs);
    wait_idle(p);
    p->jobs = 0;
    return p->ticked < 0 ? p->ticked : 0;
}
