-- bounds of one's own are read with the user who asks: nobody looks for all of them any more
DROP INDEX users_with_limits;
