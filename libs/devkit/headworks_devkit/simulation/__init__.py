"""What would these rules have said? Traffic against rules, offline: arrivals, their replay, pictures of it."""
