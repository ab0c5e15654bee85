// A call in which the last rank does not take part, one way or another. Every other rank prints what it is told.
//   silent FUNCTION    it never calls
//   midway FUNCTION    it agrees to the call, and then sends nothing
//   dead FUNCTION      it is killed, and mpiexec ends the others
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

extern "C" {

int MPI_Isend(const void *data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
    sleep(is_mute ? kLong : 0);
    return PMPI_Isend(data, count, type, to, tag, comm, request);
}

int MPI_Ialltoallv(const void *data, const int *counts, const int *starts, MPI_Datatype type, void *received,
                   const int *received_counts, const int *received_starts, MPI_Datatype received_type, MPI_Comm comm,
                   MPI_Request *request) {
    sleep(is_mute ? kLong : 0);
    return PMPI_Ialltoallv(data, counts, starts, type, received, received_counts, received_starts, received_type, comm,
                           request);
}

int MPI_Iallreduce(const void *data, void *received, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                   MPI_Request *request) {
    sleep(is_mute ? kLong : 0);
    return PMPI_Iallreduce(data, received, count, type, op, comm, request);
}

}  // extern "C"

int main(int argc, char **argv) {
    const std::string way = argc > 1 ? argv[1] : "", function = argc > 2 ? argv[2] : "";
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
    std::vector<float> numbers(6 * 16 * 64, 1.0f), result(numbers.size());
    const muattn_tensor x = muattn::tensor(numbers.data(), {1, 6, 16, 64}),
                        out = muattn::tensor(result.data(), {1, 6, 16, 64});
    for (int call = 0; call < 2; call++) {  // the second one fails at once
        const double begin = MPI_Wtime();
        try {
            if (function == "ring") {
                muattn::mpi::ring_attention(group, x, x, x, out);
            } else if (function == "ulysses") {
                muattn::mpi::ulysses_attention(group, x, x, x, out);
            } else {
                muattn::mpi::channel_attention(group, x, x, x, out);
            }
            printf("rank %d: no error\n", group.rank());
        } catch (const muattn::mpi::CommunicationError &error) {
            printf("rank %d: after %.0f s: %s\n", group.rank(), MPI_Wtime() - begin, error.what());
        }
        fflush(stdout);
    }
    sleep(2);  // until all have printed
    MPI_Abort(MPI_COMM_WORLD, 3);
}
