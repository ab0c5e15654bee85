/* A call from a constructor that runs before those of the program's libraries: it finds the backend that later calls find. */
#include <stdio.h>
#include <string.h>

#include "call.h"

static int early = -1;
static const char *early_backend = "";

__attribute__((constructor(101))) static void first(void) {
    early_backend = muattn_current_backend();
    early = call();
}

int main(void) {
    const char *best = NULL;
    for (int i = 0; best == NULL && i < muattn_backend_count(); i++) {
        best = muattn_backend_available(i) ? muattn_backend_name(i) : NULL;
    }
    printf("early: %d on '%s', best '%s', now '%s'\n", early, early_backend, best, muattn_current_backend());
    return early != 0 || best == NULL || strcmp(early_backend, best) != 0 || call() != 0;
}
