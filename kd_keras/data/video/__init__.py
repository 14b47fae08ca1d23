"""Video files, numbered images and optical flow: their times, and their frames."""
