"""The science of dalle-serve: prompt → text tokens → image codes → pixels → ranked images. Knows no Ray, no HTTP."""
