// muattn over MPI: attention over tokens that are spread over the ranks of a communicator, forward and backward. docs/distributed.md says what travels,
// and what it costs.
//
//   MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
//   muattn::mpi::Group group(MPI_COMM_WORLD);
//   muattn::mpi::ring_attention(group, q, k, v, out, options);   // q, k, v, out: this rank's tokens
//
// Headers alone: a program compiles them with its MPI, and links that and muattn, which knows nothing of MPI. Tensors are in the
// processor's memory. The same input on the same number of ranks, cut alike, gives the same bits, if MPI_Iallreduce does; another number of ranks
// rounds differently.
#pragma once

#include "muattn/mpi/channel.hpp"
#include "muattn/mpi/ring.hpp"
#include "muattn/mpi/ulysses.hpp"
