"""The web page: plain HTML, CSS and ES modules, served as they lie here. No build step, no request to anywhere else."""
