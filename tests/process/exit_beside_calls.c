/* exit() while other threads are inside calls, from one that makes none and from one that does: the program ends, with its own exit
 * code. */
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"

enum { callers = 3, times = 20, code = 7, seconds = 1000 };

static void *calls(void *unused) {
    while (call() == 0) {
    }
    abort();
    return unused;
}

static void *exits(void *unused) {
    call();
    exit(code);
    return unused;
}

static void child(int from_a_caller, int delay) {
    pthread_t thread;
    alarm(seconds);
    muattn_set_num_threads(2 + delay % 3);
    for (int i = 0; i < callers; i++) {
        pthread_create(&thread, NULL, calls, NULL);
    }
    usleep((useconds_t)(1000 + 300 * delay));
    if (from_a_caller) {
        pthread_create(&thread, NULL, exits, NULL);
        pause();
    }
    exit(code);
}

int main(void) {
    for (int from_a_caller = 0; from_a_caller < 2; from_a_caller++) {
        for (int i = 0; i < times; i++) {
            const pid_t pid = fork();
            int status = 0;
            if (pid == 0) {
                child(from_a_caller, i);
            }
            waitpid(pid, &status, 0);
            if (!WIFEXITED(status) || WEXITSTATUS(status) != code) {
                fprintf(stderr, "from a caller %d: status %x\n", from_a_caller, (unsigned)status);
                return 1;
            }
        }
    }
    return 0;
}
