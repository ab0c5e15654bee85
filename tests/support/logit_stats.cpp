#include "support/logit_stats.h"

#include <cmath>
#include <sstream>

#include "reference/logit_stats.h"
#include "support/compare.h"

namespace muattn::test {
namespace {

// With w the relative error of a weight (compare.h), which holds that of a logit, u A, as well: the magnitudes' mean, their root of the mean
// square and the maximum are off by the logits' own error, and a rounding or two of their own. An entropy sum p (log(sum) - x), whose terms
// are weights times numbers up to 2 C + log(n), C the size of a logit that counts, is off by w times that.
std::vector<double> allowed_errors(const reference::LogitStats &of) {
    const double w = relative_weight_error(of.logit_size + 2 * of.capped_size, of.longest_row);
    const double of_logit = w * (1 + of.capped_size);
    return {of_logit, of_logit, of_logit, 2 * w * (1 + 2 * of.capped_size + std::log(double(of.longest_row + 1)))};
}

void expect_near(const std::vector<reference::LogitStats> &heads, const Tensor &stats) {
    const auto expected = [&](int64_t b, int64_t h, int64_t, int64_t e) {
        const reference::LogitStats &of = heads[size_t(b * stats.size(1) + h)];
        const double values[] = {of.mean_abs, of.rms, of.max, of.entropy};
        return Expected{values[e], allowed_errors(of)[size_t(e)]};
    };
    EXPECT_TRUE(agrees(stats, expected));
}

template<typename Case, typename Tensors>
void expect_stats_agree(const Case &c, const Tensors &t, const std::vector<reference::LogitStats> &heads) {
    const Tensor stats = make_stats(c.B, c.H, c.layout);
    const WriteWatch watch(stats);
    std::ostringstream trace;
    trace << "logit stats of " << c;
    SCOPED_TRACE(trace.str());
    ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(watch.changes_outside(), 0);
    expect_near(heads, stats);
    if (c.B > 0 && c.H > 0) {
        expect_current_backend_ran({&t.q, &t.k});
    }
}

}  // namespace

Tensor make_stats(int64_t B, int64_t H, const Layout &layout) { return Tensor({B, H, 1, 4}, for_output(layout)); }

muattn_status run_stats(const SpatialCase &c, const SpatialTensors &t, const Tensor &stats) {
    const muattn_tensor q = t.q.view(), k = t.k.view(), out = stats.view();
    muattn_tensor mask;
    const muattn_spatial_options options = options_with_mask(c, t, mask);
    return muattn_spatial_logit_stats(&q, &k, &options, &out);
}

muattn_status run_stats(const ChannelCase &c, const ChannelTensors &t, const Tensor &stats) {
    const muattn_tensor q = t.q.view(), k = t.k.view(), out = stats.view();
    const muattn_channel_options options = c.options();
    return muattn_channel_logit_stats(&q, &k, &options, &out);
}

void expect_stats_agree(const SpatialCase &c, const SpatialTensors &t) {
    const muattn_tensor q = t.q.view(), k = t.k.view();
    muattn_tensor mask;
    const muattn_spatial_options options = options_with_mask(c, t, mask);
    expect_stats_agree(c, t, reference::spatial_logit_stats(q, k, options));
}

void expect_stats_agree(const ChannelCase &c, const ChannelTensors &t) {
    const muattn_tensor q = t.q.view(), k = t.k.view();
    expect_stats_agree(c, t, reference::channel_logit_stats(q, k, c.options()));
}

}  // namespace muattn::test
