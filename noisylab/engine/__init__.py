"""The loop's machinery: plans, the manual step, the scoring pass, checkpoints that can be trusted."""
