"""Records and findings to the outside: files, console, TensorBoard. One file per format, nothing imported here."""
