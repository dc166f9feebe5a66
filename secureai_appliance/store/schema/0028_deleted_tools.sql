-- An assistant names no tool that is gone, whichever way it went.
CREATE TRIGGER tools_deleted AFTER DELETE ON tools BEGIN
    UPDATE assistants
    SET tool_ids = (SELECT json_group_array(value) FROM
        (SELECT value FROM json_each(assistants.tool_ids) WHERE value <> old.id ORDER BY key))
    WHERE instr(tool_ids, old.id);
END;

UPDATE assistants
SET tool_ids = (SELECT json_group_array(value) FROM
    (SELECT value FROM json_each(assistants.tool_ids) WHERE value IN (SELECT id FROM tools) ORDER BY key));
