"""The networks of TarFlowLM: tokens and latents, causal transformers, couplings, the flow."""
