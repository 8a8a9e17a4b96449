"""From a study file to committed runs; needs torch and hours, and knows nothing of judging."""
