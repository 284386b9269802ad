/* Threads and one who gives them work, as Python has them: nothing is lost, nothing done twice. */
#include "net_bound.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>

enum { WORKERS = 3, ROUNDS = 20000 };

typedef struct {
    net_worker worker;
    sem_t wake; /* posted once more when all is over */
    pthread_t thread;
    int done, over; /* how often its job was */
} place;

static int job(void *p)
{
    place *const own = p;

    own->done++;
    return own->done % 7;
}

static void *work(void *p)
{
    place *const own = p;

    for (;;) {
        sem_wait(&own->wake);
        if (__atomic_load_n(&own->over, __ATOMIC_ACQUIRE))
            return NULL;
        net_worker_serve(&own->worker, 5);
    }
}

int main(void)
{
    static place places[WORKERS];

    for (int n = 0; n < WORKERS; n++)
        if (sem_init(&places[n].wake, 0, 0)
            || pthread_create(&places[n].thread, NULL, work, places + n))
            return 2;
    for (int round = 1; round <= ROUNDS; round++) {
        for (int n = 0; n < WORKERS; n++)
            if (net_worker_offer(&places[n].worker, job, places + n))
                sem_post(&places[n].wake);
        for (volatile int i = 0; i < round % 50 * 20; i++) /* a share of one's own */
            ;
        for (int n = 0; n < WORKERS; n++) {
            const int answer = net_worker_settle(&places[n].worker);

            if (places[n].done != round || answer != round % 7)
                return 1;
            if (net_worker_settle(&places[n].worker) != answer)
                return 3;
            if (round % 100 == n) /* for nothing */
                sem_post(&places[n].wake);
        }
    }
    for (int n = 0; n < WORKERS; n++) {
        __atomic_store_n(&places[n].over, 1, __ATOMIC_RELEASE);
        sem_post(&places[n].wake);
        pthread_join(places[n].thread, NULL);
    }
    return puts("well") == EOF;
}
