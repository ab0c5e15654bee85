// What the functions hand to MPI, in bytes, against the formulas of docs/distributed.md. MPI's profiling interface counts: these functions come before
// the library's.
#include <gtest/gtest.h>
#include <mpi.h>

#include "mpi/ranks.h"

namespace {

int64_t sent = 0, summed = 0, gathered = 0;  // bytes: to other ranks; of buffers that are added up; of each rank's part

int64_t bytes_of(MPI_Datatype type) {
    int size = 0;
    MPI_Type_size(type, &size);
    return size;
}

int size_of(MPI_Comm comm) {
    int size = 0;
    MPI_Comm_size(comm, &size);
    return size;
}

}  // namespace

extern "C" {

int MPI_Isend(const void *data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
    sent += count * bytes_of(type);
    return PMPI_Isend(data, count, type, to, tag, comm, request);
}

int MPI_Ialltoallv(const void *data, const int *counts, const int *starts, MPI_Datatype type, void *received,
                   const int *received_counts, const int *received_starts, MPI_Datatype received_type, MPI_Comm comm,
                   MPI_Request *request) {
    for (int rank = 0; rank < size_of(comm); rank++) {
        sent += rank == muattn::test::all_ranks().rank() ? 0 : counts[rank] * bytes_of(type);
    }
    return PMPI_Ialltoallv(data, counts, starts, type, received, received_counts, received_starts, received_type, comm,
                           request);
}

int MPI_Iallreduce(const void *data, void *received, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                   MPI_Request *request) {
    summed += count * bytes_of(type);
    return PMPI_Iallreduce(data, received, count, type, op, comm, request);
}

int MPI_Iallgather(const void *data, int count, MPI_Datatype type, void *received, int received_count,
                   MPI_Datatype received_type, MPI_Comm comm, MPI_Request *request) {
    gathered += received_count * bytes_of(received_type);
    return PMPI_Iallgather(data, count, type, received, received_count, received_type, comm, request);
}

}  // extern "C"

namespace muattn::test {
namespace {

constexpr int64_t B = 2, H = 12, Hk = 12, d = 8, d_v = 5, n = 29;

struct Call {
    std::vector<distributed::Stretches> places = cut_tokens(n, Cut::uneven);
    int64_t m = tokens_of(all_ranks().rank());
    Tensor q{{B, H, m, d}, dense()}, k{{B, Hk, m, d}, dense()}, v{{B, Hk, m, d_v}, dense()},
        out{{B, H, m, d_v}, dense()}, lse{{B, H, m, 1}, dense()}, d_q{{B, H, m, d}, dense()},
        d_k{{B, Hk, m, d}, dense()}, d_v_{{B, Hk, m, d_v}, dense()};

    Call() {
        for (const Tensor *t : {&q, &k, &v}) {
            t->fill_normal(1);
        }
        sent = summed = gathered = 0;
    }
    int64_t tokens_of(int rank) const { return distributed::count_of(places[size_t((rank + ranks()) % ranks())]); }
    static int ranks() { return all_ranks().size(); }
};

TEST(TrafficOfRanks, Ring) {
    const Call c;
    const int rank = all_ranks().rank();
    const int64_t token = 4 * B * Hk * (d + d_v);
    mpi::ring_attention(all_ranks(), c.q.view(), c.k.view(), c.v.view(), c.out.view(), c.lse.view());
    // All blocks but the next rank's, which has come to its last place here.
    EXPECT_EQ(sent, token * (n - c.tokens_of(rank + 1)) * (c.ranks() > 1));
    EXPECT_EQ(gathered, 40);
    sent = 0;
    const muattn_tensor d_q = c.d_q.view(), d_k = c.d_k.view(), d_v_view = c.d_v_.view();
    SpatialGradients gradients{};
    gradients.d_q = &d_q, gradients.d_k = &d_k, gradients.d_v = &d_v_view;
    mpi::ring_attention_backward(all_ranks(), c.q.view(), c.k.view(), c.v.view(), c.out.view(), c.lse.view(),
                                 c.out.view(), gradients);
    EXPECT_EQ(sent, token * (2 * n - c.tokens_of(rank + 1)) * (c.ranks() > 1));
}

// In order a block goes on to the last rank alone, which sees all; with a window no further than that reaches.
TEST(TrafficOfRanks, BlocksGoAsFarAsTheyAreSeen) {
    const Call c;
    const int rank = all_ranks().rank();
    SpatialOptions options{};
    options.causal = MUATTN_CAUSAL_TOP_LEFT;
    int64_t before = 0;  // tokens of ranks up to this one, whose blocks all pass here
    for (int r = 0; r <= rank; r++) {
        before += c.tokens_of(r);
    }
    const bool is_last = before == n;  // later ranks have no tokens, or are none
    mpi::ring_attention(all_ranks(), c.q.view(), c.k.view(), c.v.view(), c.out.view(), c.lse.view(), options);
    EXPECT_EQ(sent, is_last ? 0 : 4 * B * Hk * (d + d_v) * before);
    sent = 0;
    const muattn_tensor d_q = c.d_q.view();
    SpatialGradients of_queries{};
    of_queries.d_q = &d_q;
    mpi::ring_attention_backward(all_ranks(), c.q.view(), c.k.view(), c.v.view(), c.out.view(), c.lse.view(),
                                 c.out.view(), of_queries, options);
    EXPECT_EQ(sent, is_last ? 0 : 4 * B * Hk * (d + d_v) * before);
}

TEST(TrafficOfRanks, AWindowOfOneTokenSendsNothing) {
    const Call c;
    SpatialOptions options{};
    options.window = {1, 0, 0};
    mpi::ring_attention(all_ranks(), c.q.view(), c.k.view(), c.v.view(), c.out.view(), options);
    EXPECT_EQ(sent, 0);  // queries and keys are cut alike: each rank has what it sees
}

TEST(TrafficOfRanks, Ulysses) {
    const Call c;
    mpi::UlyssesHeads heads;
    mpi::ulysses_attention(all_ranks(), c.q.view(), c.k.view(), c.v.view(), c.out.view(), {}, mpi::Balance::none,
                           &heads);
    const int64_t P = c.ranks();
    const int64_t forward = 4 * B * ((P - 1) * c.m * (H * d + Hk * (d + d_v)) / P + H / P * (n - c.m) * d_v);
    EXPECT_EQ(sent, forward);
    const muattn_tensor d_q = c.d_q.view(), d_k = c.d_k.view(), d_v_view = c.d_v_.view();
    SpatialGradients gradients{};
    gradients.d_q = &d_q, gradients.d_k = &d_k, gradients.d_v = &d_v_view;
    sent = 0;
    mpi::ulysses_attention_backward(all_ranks(), heads, c.out.view(), gradients);
    const int64_t backward = 4 * B * ((P - 1) * c.m * H * d_v / P + (n - c.m) * (H * d + Hk * (d + d_v)) / P);
    EXPECT_EQ(sent, backward);
}

TEST(TrafficOfRanks, Channel) {
    const Call c;
    const Tensor v({B, H, c.m, d}, dense()), out({B, H, c.m, d}, dense());
    v.fill_normal(2);
    ChannelOptions options{};
    options.normalize = 1;
    const float scale = 1;
    options.scale = &scale, options.scale_count = 1;
    mpi::ChannelSums sums;
    mpi::channel_attention(all_ranks(), c.q.view(), c.k.view(), v.view(), out.view(), options, &sums);
    EXPECT_EQ(summed, 4 * B * H * (d * d + 2 * d));
    EXPECT_EQ(sent, 0);
    summed = 0;
    const muattn_tensor d_q = c.d_q.view();
    ChannelGradients gradients{};
    gradients.d_q = &d_q;
    mpi::channel_attention_backward(all_ranks(), c.q.view(), c.k.view(), v.view(), out.view(), sums, gradients,
                                    options);
    EXPECT_EQ(summed, 4 * B * H * d * d);
}

}  // namespace
}  // namespace muattn::test
