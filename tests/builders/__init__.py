"""What tests share: runs, studies, reports, checkpoints and commands, one file for each."""
