# The kernels of this library. This table drives the build, the registry, the tests and the benchmarks: a kernel is one
# line, compiled for every backend of cmake/targets.cmake.
function(muattn_kernels)
  # The schedule's numbers, in the order of override_with() in schedules/<operation>_schedule.h.
  muattn_operation(spatial_attention PARAMETERS row_vectors key_unroll value_group tile_blocks chunk_keys)
  muattn_operation(channel_attention PARAMETERS row_vectors column_group token_unroll tile_blocks chunk_tokens)

  #             operation         direction dtype   kind        the kind, for the generator
  muattn_kernel(spatial_attention forward   float32 plain)
  muattn_kernel(spatial_attention forward   float32 lse         with_lse=true)
  muattn_kernel(spatial_attention forward   float32 guarded     guard_values=true)
  muattn_kernel(spatial_attention forward   float32 guarded_lse with_lse=true guard_values=true)
  muattn_kernel(channel_attention forward   float32 plain)
endfunction()
