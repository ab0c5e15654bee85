// A call in which the last rank does not take part, one way or another. Every other rank prints what it is told.
//   silent    it never calls
//   midway    it agrees to the call, and then sends nothing
//   dead      it is killed
#include <mpi.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "muattn/mpi.hpp"

namespace {

bool is_mute = false;
constexpr unsigned kLong = 600;  // seconds; the others end the job before

}  // namespace

extern "C" int MPI_Isend(const void *data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
                         MPI_Request *request) {
    if (is_mute) {
        sleep(kLong);
    }
    return PMPI_Isend(data, count, type, to, tag, comm, request);
}

int main(int argc, char **argv) {
    const std::string way = argc > 1 ? argv[1] : "";
    int level = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
    muattn::mpi::Group group(MPI_COMM_WORLD, std::chrono::milliseconds(1500));
    if (group.rank() == group.size() - 1) {
        is_mute = way == "midway";
        if (way == "silent") {
            sleep(kLong);
        } else if (way == "dead") {
            raise(SIGKILL);
        }
    }
    std::vector<float> numbers(4 * 16 * 64, 1.0f), result(numbers.size());
    const muattn_tensor x = muattn::tensor(numbers.data(), {1, 4, 16, 64});
    for (int call = 0; call < 2; call++) {  // the second one fails at once
        const double begin = MPI_Wtime();
        try {
            muattn::mpi::ring_attention(group, x, x, x, muattn::tensor(result.data(), {1, 4, 16, 64}));
            printf("rank %d: no error\n", group.rank());
        } catch (const muattn::mpi::CommunicationError &error) {
            printf("rank %d: after %.0f s: %s\n", group.rank(), MPI_Wtime() - begin, error.what());
        }
        fflush(stdout);
    }
    sleep(2);  // until all have printed
    MPI_Abort(MPI_COMM_WORLD, 3);
}
