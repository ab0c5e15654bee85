/* unload MODULE: dlopen, a call, dlclose, many times. Threads end with the library, and nothing that it allocated is left. fork() does not
 * call into what was unloaded. */
#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { times = 200, threads = 3, before_counting = 5 };

static int threads_now(void) {
    int count = 0;
    DIR *const tasks = opendir("/proc/self/task");
    while (tasks != NULL) {
        const struct dirent *const entry = readdir(tasks);
        if (entry == NULL) {
            closedir(tasks);
            break;
        }
        count += entry->d_name[0] != '.';
    }
    return count;
}

int main(int argc, char **argv) {
    size_t first = 0, last = 0;
    for (int i = 0; argc == 2 && i < times; i++) {
        void *const module = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        int (*const call)(int) = module != NULL ? (int (*)(int))dlsym(module, "module_call") : NULL;
        if (call == NULL || call(threads) != 0) {
            fprintf(stderr, "time %d: %s\n", i, module != NULL ? "a wrong result" : dlerror());
            return 1;
        }
        if (threads_now() != threads) {
            fprintf(stderr, "time %d: %d threads\n", i, threads_now());
            return 1;
        }
        dlclose(module);
        while (threads_now() != 1) { /* one that was joined is in the list for a moment still */
            usleep(1000);
        }
        if (dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) != NULL) {
            fprintf(stderr, "time %d: still there\n", i);
            return 1;
        }
        const pid_t pid = fork();
        int status = 1;
        if (pid == 0) {
            _exit(0);
        }
        if (waitpid(pid, &status, 0) != pid || status != 0) {
            fprintf(stderr, "time %d: fork() after it: %x\n", i, (unsigned)status);
            return 1;
        }
        last = mallinfo2().uordblks + mallinfo2().hblkhd;
        first = i == before_counting ? last : first;
    }
    printf("bytes in use: %zu at first, %zu at last\n", first, last);
    return first == 0 || last > first + times * 128;
}
