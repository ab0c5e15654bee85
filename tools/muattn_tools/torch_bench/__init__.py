"""./dev bench --torch: whole training steps of real models, with muattn and without."""
