"""What is searched: from typed knobs to a checked space, and what makes a study this one."""
